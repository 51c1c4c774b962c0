"""Sets of images measured against each other, each value with the protocol by which it was measured."""
