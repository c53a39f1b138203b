"""Several processes of one run, on one machine or many: JAX's own distributed runtime.

Every process runs the same program on its own devices, its own prompts and its own Oracle calls.
What all must agree on (when to stop, what to log) is gathered here; only the first process writes.
In a run of one process none of this does anything.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from orl_jax.run.errors import UserError

HEARTBEAT_SECONDS = 60  # how long a process may be silent before the others give up
SHUTDOWN_SECONDS = 30  # how long a process that is done waits for the others
LOST = (
    "another process of this run, or the network between them, is gone. The last checkpoint is "
    "kept: start all processes again with the same command, on as many machines as there are"
)

# What collectives and JAX's coordination report then; other errors, e.g. of memory, do not match.
_NETWORK = re.compile(
    r"\bgloo\b|\bnccl|coordination service|connection (reset|closed)", re.IGNORECASE
)


def join(
    coordinator: str | None = None, count: int | None = None, index: int | None = None
) -> None:
    """Joins the run's other processes; call it before anything else uses jax.

    Args:
      coordinator: host:port of the first process. Without it JAX asks the cluster that it runs on
        (SLURM, Kubernetes, Open MPI, Cloud TPU) or its environment (JAX_COORDINATOR_ADDRESS).
      count: number of processes.
      index: of this one; 0 is the first.

    Raises:
      UserError: no cluster was found and nothing else says who takes part; the others do not join.
    """
    try:
        jax.distributed.initialize(
            coordinator, count, index,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )  # fmt: skip
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"JAX cannot tell who takes part in this run ({error}); say "
            "--coordinator=HOST:PORT --num_processes=N --process_id=I, where process 0 is on HOST"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"process {index} of {count} found no others at {coordinator}: {_first_line(error)}"
        ) from error
    logging.info("process %d of %d", jax.process_index(), jax.process_count())


def is_writer() -> bool:
    """Whether this process writes files and shows progress."""
    return jax.process_index() == 0


def share() -> dict[str, int]:
    """This process's part of the data, as keywords for `Plan`."""
    return {"share": jax.process_index(), "shares": jax.process_count()}


def gather(value: Any) -> list[Any]:
    """The values of all processes, in their order; all processes must call it, in step.

    Args:
      value: JSON.

    Example: with one process `gather({"a": 1}) == [{"a": 1}]`.
    """
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(text), np.int32))
    room = np.zeros(1 << int(sizes.max()).bit_length(), np.uint8)  # few shapes, few programs
    room[: len(text)] = text
    texts = multihost_utils.process_allgather(room)
    return [json.loads(row[:size].tobytes()) for row, size in zip(texts, sizes, strict=True)]


def gather_rows(rows: Sequence[Any]) -> list[Any]:
    """Rows of all processes, in their order; see `gather`."""
    return [row for part in gather(list(rows)) for row in part]


def wait() -> None:
    """Returns when all processes have reached this call."""
    gather(None)


def combine_metrics(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The metrics of all processes combined: the slowest times, sums of rates, otherwise means.

    Example: `combine_metrics([{"time/oracle": 1.0, "kl": 0.2}, {"time/oracle": 3.0, "kl": 0.4}])`
    is `{"time/oracle": 3.0, "kl": 0.3}`.
    """

    def combined(name: str) -> float:
        values = [float(part[name]) for part in parts]
        if name.startswith("time/") or name.endswith(("seconds", "/bad_videos")):
            return max(values)
        return sum(values) if name == "tokens_per_second" else sum(values) / len(values)

    return dict(parts[0]) if len(parts) == 1 else {name: combined(name) for name in parts[0]}


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, RuntimeError | ValueError) and bool(_NETWORK.search(str(error)))


def leave(status: int) -> None:
    """Ends a failed process at once, so that the others notice instead of waiting for it."""
    if status and status < 128 and jax.distributed.is_initialized() and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
