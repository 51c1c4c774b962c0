"""TFDS builders of our own; importing this package makes their names known to TFDS."""

from jaxgen.data.builders.digits import Digits

__all__ = ["Digits"]
