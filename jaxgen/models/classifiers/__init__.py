"""Classifiers: images to logits, by way of the features that sets of images are compared in."""

from jaxgen.models.classifiers.lenet import LeNet

__all__ = ["LeNet"]
