"""Generators and discriminators. A generator maps `z [B, L]` to examples, a discriminator examples to logits `[B]`."""

from jaxgen.models.gan import conditional, dcgan, mlp

__all__ = ["conditional", "dcgan", "mlp"]
