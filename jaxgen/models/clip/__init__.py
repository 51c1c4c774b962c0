"""CLIP: an image and a text encoder into one space (Radford et al. 2021)."""

from jaxgen.models.clip.clip import CLIP
from jaxgen.models.clip.resnet import ResNet
from jaxgen.models.clip.text import TextTransformer
from jaxgen.models.clip.vision import VisionTransformer

__all__ = ["CLIP", "ResNet", "TextTransformer", "VisionTransformer"]
