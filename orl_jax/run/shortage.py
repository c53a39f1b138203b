"""What the machine lacks, told from what libraries raise then: memory, room on a disk, a device."""

import errno
import os
import re
import traceback

from orl_jax.run import disk
from orl_jax.run.errors import Failure, UserError, causes

# What XLA and CUDA say.
_MEMORY = re.compile(
    r"out of memory|RESOURCE_EXHAUSTED: Failed to allocate|bad_alloc", re.IGNORECASE
)
_NO_DEVICE = "Unable to initialize backend"
_LONGEST = 300  # characters of what was raised


def explain(error: BaseException) -> Failure | UserError | None:
    """One line for a person, as the error to end with; None for any other fault.

    Example: "out of memory (RESOURCE_EXHAUSTED: Out of memory allocating ...); take smaller
    batches ...".
    """
    for each in causes(error):
        if is_of_memory(each):
            return Failure(
                f"out of memory ({_said(each)}); take smaller batches or micro-batches, or more "
                "devices (scripts/plan_memory.py says what fits). What was saved before is intact"
            )
        if disk.is_trouble(each):
            return Failure(disk.line(each))
        if _is_of_devices(each):
            return UserError(
                f"JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS', '')!r}, and JAX finds no such "
                f"device ({_said(each)}); unset it to take what there is. For a GPU: "
                "pip install 'orl_jax[gpu]', and a driver"
            )
    return None


def is_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the host or a device, is used up."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ValueError) and bool(_MEMORY.search(str(error)))
    )


def _is_of_devices(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return _NO_DEVICE in str(error)
    frames = traceback.extract_tb(error.__traceback__)[-1:]  # JAX 0.10 asserts it without a word
    places = [frame.filename for frame in frames if isinstance(error, AssertionError)]
    return any(place.endswith("xla_bridge.py") for place in places)


def _said(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return f"{said:.{_LONGEST}}"
