"""Errors that are the user's to mend."""


class UserError(Exception):
    """Bad usage, configuration or input file: one clear line for a person (value, limit, remedy).

    Scripts print it without a traceback and exit with status 2.

    Example: `raise UserError("rl.group_size is 1; it must be at least 2")`.
    """
