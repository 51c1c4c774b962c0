"""TFDS builders of our own; importing this package makes their names known to TFDS."""

from jaxgen.data.builders.captioned_digits import CaptionedDigits
from jaxgen.data.builders.chalk_digits import ChalkDigits
from jaxgen.data.builders.coloured_digits import ColouredDigits
from jaxgen.data.builders.digits import Digits
from jaxgen.data.builders.mixtures import GaussianGrid, GaussianRing
from jaxgen.data.builders.segmented_digits import SegmentedDigits
from jaxgen.data.builders.slanted_digits import SlantedDigits
from jaxgen.data.builders.sprites import Sprites

__all__ = [
    "CaptionedDigits",
    "ChalkDigits",
    "ColouredDigits",
    "Digits",
    "GaussianGrid",
    "GaussianRing",
    "SegmentedDigits",
    "SlantedDigits",
    "Sprites",
]
