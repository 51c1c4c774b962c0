"""Command lines: the command `jaxgen` with its subcommands, and the command line of an experiment."""
