"""The training loop: its compiled calls, its reports and its signals, and the search for a step that is not finite."""
