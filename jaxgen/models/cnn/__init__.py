"""Convolutional classifiers: images to logits, and the features that sets of images are compared in."""

from jaxgen.models.cnn.lenet import LeNet

__all__ = ["LeNet"]
