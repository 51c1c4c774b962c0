"""Transformers over patches of images and over tokens of text."""

from jaxgen.models.transformers.text import TextTransformer
from jaxgen.models.transformers.vit import VisionTransformer

__all__ = ["TextTransformer", "VisionTransformer"]
