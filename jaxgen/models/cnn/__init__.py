"""Classifiers: images to logits, by way of the features that sets of images are compared in."""

from jaxgen.models.cnn.lenet import LeNet

__all__ = ["LeNet"]
