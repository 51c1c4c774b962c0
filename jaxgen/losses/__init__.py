"""Losses: arrays in, one value an example out. They know of no model, no parameters and no training."""
