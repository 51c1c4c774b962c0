"""A check that a model gets labels exactly if it was made for classes."""

from jaxgen.errors import InputError
from jaxgen.types import Array


def check_label(classes: int, label: Array | None) -> None:
    """Refuses a model of classes without labels, and labels for a model without classes.

    Raises:
      InputError: if one of them is given without the other.
    """
    if classes and label is None:
        raise InputError(f"This model was made for {classes} classes and got no labels; give it a class for each example.")
    if label is not None and not classes:
        raise InputError("This model was made without classes and got labels; give the model `classes`, or no labels.")
