"""Turns a failure to read or write a checkpoint, which Orbax reports at length, into one line.

Orbax reads all arrays at once. When one read fails, the others keep running: as they end, or as
Python frees them, each prints a traceback of its own (an exception that nobody can catch, a task
that nobody awaited). That aftermath is suppressed here: what a person needs to know is which
checkpoint it is and what to do.
"""

import contextlib
import functools
import gc
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orl_jax.run import disk, shortage
from orl_jax.run.checkpoint.location import METADATA, steps_in
from orl_jax.run.errors import Failure, UserError, causes

_AFTERMATH = ("Event loop is closed", "Encountered error while reading array index")


@contextlib.contextmanager
def readable(path: Path, trouble: str) -> Iterator[None]:
    """Raises a `UserError` for whatever is raised inside, where a checkpoint is read.

    Args:
      path: of the checkpoint.
      trouble: what a failure means, e.g. "is damaged".

    Example: "the checkpoint /w/checkpoints/rl/5 is damaged (ValueError: DATA_LOSS: ...); ...".
    """
    hook, asyncio = sys.unraisablehook, logging.getLogger("asyncio")
    level = asyncio.level
    sys.unraisablehook = functools.partial(_skip_aftermath, hook)
    asyncio.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # hook and level stay: some reads are still under way
        _drop_pending_reads(error)
        if any(map(shortage.is_of_memory, causes(error))):  # no fault of the checkpoint
            raise
        raise UserError(
            f"the checkpoint {path} {trouble} ({type(error).__name__}: {_first(error)}); "
            "check --config, or delete the folder to resume from an older checkpoint"
        ) from error
    sys.unraisablehook = hook
    asyncio.setLevel(level)


def check_metadata(stage: Path) -> None:
    """Refuses what Orbax, which reads this file of each step, would wait for: a pipe, say."""
    for step in steps_in(stage):
        file = stage / str(step) / METADATA
        if os.path.lexists(file) and not file.is_file():
            raise UserError(
                f"the checkpoint {file.parent} is damaged: {METADATA} is no file; restore it from "
                "a copy, or delete the folder to use an older checkpoint"
            )


@contextlib.contextmanager
def naming_full_disk(stage: Path) -> Iterator[None]:
    """Turns what Orbax says of a full disk, in any of its threads, into one line, a `Failure`."""
    try:
        yield
    except Exception as error:
        found = list(causes(error))
        if any(map(shortage.is_of_memory, found)) or not any(map(disk.is_trouble, found)):
            raise
        steps = steps_in(stage)
        newest = f"the newest intact one is of step {steps[-1]}" if steps else "there is none"
        _suppress_aftermath(error)
        raise Failure(
            f"a checkpoint could not be written to {stage} ({_first(error)}); {newest}. Make room "
            "there, then the same command resumes"
        ) from error


def _suppress_aftermath(error: BaseException) -> None:
    """After a failed write: what Orbax's threads still print as they end is of no use."""
    sys.unraisablehook = functools.partial(_skip_aftermath, sys.unraisablehook)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    _drop_pending_reads(error)


def _skip_aftermath(hook: Callable[[Any], object], unraisable: Any) -> None:
    """Stands in for `sys.unraisablehook`."""
    if not str(unraisable.exc_value).startswith(_AFTERMATH):
        hook(unraisable)


def _drop_pending_reads(error: BaseException | None) -> None:
    """Frees the coroutines that the failure left behind, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "coroutine ... was never awaited"
        for each in causes(error):
            traceback.clear_frames(each.__traceback__)
        gc.collect()


def _first(error: BaseException) -> str:
    """What an error says, without the specification of the array that follows."""
    return " ".join(str(error).split("[tensorstore_spec")[0].split())[:300]
