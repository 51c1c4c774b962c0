"""Samples of a model: what they are conditioned on, how they are drawn, and the files that they are written to."""
