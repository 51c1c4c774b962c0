"""The folder of a run: its record, its checkpoints and its journal; and a run that is loaded from it."""
