"""The training loop: what it compiles, reports and saves, and what it says of a step that is not finite."""
