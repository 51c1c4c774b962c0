"""Models: pure linen definitions. They know nothing of objectives, data or training."""
