"""Convolutional networks: trunks from images to maps, classifiers, and the features that sets of images are compared in."""

from jaxgen.models.cnn.googlenet import GoogLeNet
from jaxgen.models.cnn.lenet import LeNet
from jaxgen.models.cnn.resnet import ResNet
from jaxgen.models.cnn.unet import SegmentationUNet
from jaxgen.models.cnn.vgg import VGG

__all__ = ["VGG", "GoogLeNet", "LeNet", "ResNet", "SegmentationUNet"]
