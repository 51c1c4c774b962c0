"""Experiments: one file a model, each a command, each to be copied and changed."""
