"""A profiler's trace, as far as a summary needs it: steps, stages, operations, transfers.

JAX writes one `.xplane.pb` per host and can read it (`jax.profiler.ProfileData`). XLA marks its
operations with `hlo_op` and `hlo_module`: on CPU in the lines of its threads, among the host's; on
GPU in the lines of each device's streams, which also contain copies.
"""

import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jax.profiler import ProfileData

from orl_jax.performance.profiling.spans import Span, own_lengths
from orl_jax.run.clock import STAGE
from orl_jax.run.errors import UserError

COPIES = {"MemcpyH2D": "host to device", "MemcpyD2H": "device to host"}
# Calls by the host that move arrays; JAX records no sizes, and a CPU may share the memory.
CALLS = {
    "DevicePut": "put, by the host",
    "DevicePutWithSharding": "put, by the host",
    "np.asarray(jax.Array)": "fetch, by the host",
}


class Op(NamedTuple):
    """One execution of an operation on a device.

    Attributes:
      span: when it ran, with XLA's name of it.
      module: the program, such as "jit_step"; "" where it belongs to none.
      own: nanoseconds without nested operations.
    """

    span: Span
    module: str
    own: float


class Transfer(NamedTuple):
    """A transfer between host and device.

    Attributes:
      kind: host to device | device to host, for copies by a GPU; put, by the host | fetch, by the
        host, for calls of JAX.
      bytes: None where unknown.
    """

    span: Span
    kind: str
    bytes: int | None


class Trace(NamedTuple):
    """The content of a trace. Steps are named by their numbers."""

    steps: list[Span]
    stages: list[Span]
    ops: list[Op]
    transfers: list[Transfer]


def newest(folder: pathlib.Path) -> pathlib.Path:
    """The newest trace in a folder.

    Raises:
      UserError: there is none.
    """
    files = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise UserError(f"{folder} holds no trace (*.xplane.pb); the profiler wrote none")
    return files[-1]


def read(path: pathlib.Path) -> Trace:
    """Reads an `.xplane.pb`.

    Example: `read(newest(pathlib.Path("runs/profile/trace"))).steps[0].length`.
    """
    trace = Trace([], [], [], [])
    for plane in ProfileData.from_file(str(path)).planes:
        device = plane.name.startswith("/device:")
        for line in plane.lines:
            if not device:
                _read_host(line.events, trace)
            elif line.name.startswith("Stream"):  # the other lines repeat these
                _read_stream(line.events, trace)
    for spans in (trace.steps, trace.stages):
        spans.sort(key=lambda span: span.start)
    return trace


def _read_host(events: Iterable[Any], trace: Trace) -> None:
    """Sorts the events of one thread."""
    ops = []
    for event, stats in _with_stats(events):
        if "hlo_op" in stats:
            ops.append((_span(event, str(stats["hlo_op"])), str(stats.get("hlo_module", ""))))
        elif "step_num" in stats:
            trace.steps.append(_span(event, str(stats["step_num"])))
        elif stats.get("kind") == STAGE:
            trace.stages.append(_span(event, event.name))
        elif event.name in CALLS:
            trace.transfers.append(Transfer(_span(event, event.name), CALLS[event.name], None))
    trace.ops.extend(_owned(ops))


def _read_stream(events: Iterable[Any], trace: Trace) -> None:
    """Sorts the events of one stream of a GPU."""
    ops = []
    for event, stats in _with_stats(events):
        name = str(stats.get("hlo_op", event.name))
        ops.append((_span(event, name), str(stats.get("hlo_module", ""))))
        if event.name in COPIES:
            size = re.search(r"size:(\d+)", str(stats.get("memcpy_details", "")))
            moved = int(size[1]) if size else None
            trace.transfers.append(Transfer(_span(event, name), COPIES[event.name], moved))
    trace.ops.extend(_owned(ops))


def _with_stats(events: Iterable[Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for event in events:
        yield event, {key: value for key, value in event.stats if key is not None}


def _span(event: Any, name: str) -> Span:
    return Span(name, event.start_ns, event.start_ns + event.duration_ns)


def _owned(ops: list[tuple[Span, str]]) -> Iterator[Op]:
    """Operations of one line with their own time; a loop's excludes its iterations."""
    lengths = own_lengths([span for span, _ in ops])
    for (span, module), own in zip(ops, lengths, strict=True):
        yield Op(span, module, own)
