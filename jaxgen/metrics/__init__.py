"""Metrics: what samples are worth, as functions of arrays. They know of no model and no training."""
