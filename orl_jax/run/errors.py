"""Errors that end a script with one line, without a traceback."""

from collections.abc import Iterator


class UserError(Exception):
    """Bad usage, configuration or input file: one clear line for a person (value, limit, remedy).

    Scripts print it without a traceback and exit with status 2.

    Example: `raise UserError("rl.group_size is 1; it must be at least 2")`.
    """


class Failure(Exception):
    """A failure although nothing was wrong with the command: one line, exit status 1."""


class TrainingHalted(Failure):
    """Training was stopped by a monitor's alarm (`monitors.stop_on`), after saving.

    Its message is one line for a person. Scripts print it without a traceback and exit with
    status 1; the same command resumes training.

    Example: `raise TrainingHalted(alarm.message)`.
    """


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from or while handling, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
