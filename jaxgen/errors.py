"""What a user can mend: one sentence that names the cause and the mend, and an exit code."""


class UserError(Exception):
    """A mistake or a circumstance that the user can mend; the command line prints it without a traceback."""

    exit_code = 2


class NotFiniteError(UserError):
    """The run produced a value that is not finite; nothing after the last checkpoint was saved."""

    exit_code = 3
