"""CLIP: an image encoder and a text encoder that map into one space (Radford et al. 2021)."""

from jaxgen.models.clip.clip import CLIP
from jaxgen.models.clip.resnet import ResNet

__all__ = ["CLIP", "ResNet"]
