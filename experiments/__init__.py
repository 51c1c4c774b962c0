"""Experiments: one file per model, each a command, each to be copied and changed."""

import sys

if (
    sys.argv[0] == "-m"
):  # `python -m experiments.NAME`, before Python looks for NAME: it would answer a typing error by a traceback
    from jaxgen.commands.command_line import check_module

    check_module(sys.orig_argv, __path__)
