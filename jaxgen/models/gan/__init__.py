"""Generators and discriminators. A generator maps `z [B, L]` to examples, a discriminator examples to logits `[B]`."""

from jaxgen.models.gan import conditional, dcgan, growing, mlp, packed, progressive, stylegan

__all__ = ["conditional", "dcgan", "growing", "mlp", "packed", "progressive", "stylegan"]
