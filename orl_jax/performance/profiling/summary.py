"""Summarises a trace by step, stage, part, operation and transfer. Pure; milliseconds."""

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orl_jax.performance.profiling.scopes import part
from orl_jax.performance.profiling.spans import Span, Stretch, busy, gaps, merged, own_lengths
from orl_jax.performance.profiling.trace import Op, Trace

MS = 1e6  # nanoseconds
WAITS = ("data", "oracle")
OUTSIDE = "between"  # the host's time in a step outside of all stages


@dataclasses.dataclass(frozen=True)
class Gap:
    """An interval in which no device was busy.

    Attributes:
      stage: the host's stage in the middle of it.
      before, after: the operations around it; "" where there is none.
    """

    step: str
    start_ms: float
    ms: float
    stage: str
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class StageTime:
    """One stage of one step: the host's time in it, and the devices' busy time meanwhile.

    Time in a nested stage, such as "encode" in "rollout", counts only for the inner one.
    """

    name: str
    ms: float
    busy_ms: float


@dataclasses.dataclass(frozen=True)
class StepTime:
    """One step; its stages add up to it. `busy_ms`: the time in which any device was busy."""

    step: str
    ms: float
    busy_ms: float
    stages: list[StageTime]

    def share(self, stage: str) -> float:
        """The fraction of the step that the host spent in a stage.

        Example: `step.share("oracle")`.
        """
        return sum(s.ms for s in self.stages if s.name == stage) / self.ms if self.ms else 0.0


@dataclasses.dataclass(frozen=True)
class Work:
    """Operations of one kind, summed over all steps.

    Attributes:
      name: of the kind: an operation, a part of the step or a program.
      program, source: where it runs and where it comes from; "" where there is no single one.
      ms: their own time, without that of nested operations.
      share: fraction of the own time of all operations.
    """

    name: str
    program: str
    source: str
    count: int
    ms: float
    share: float


@dataclasses.dataclass(frozen=True)
class Moved:
    """Transfers of one kind, summed over all steps; `bytes` is None where unknown."""

    kind: str
    count: int
    bytes: int | None
    ms: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """The whole summary. `compiled`: functions that were compiled during the trace."""

    platform: str
    steps: list[StepTime]
    gaps: list[Gap]
    programs: list[Work]
    parts: list[Work]
    ops: list[Work]
    transfers: list[Moved]
    compiled: list[str]

    def waiting(self, stage: str) -> float:
        """The fraction of all steps that the host spent in a stage."""
        total = sum(step.ms for step in self.steps)
        return sum(step.share(stage) * step.ms for step in self.steps) / total if total else 0.0

    def to_json(self) -> str:
        """The summary as JSON, with the fractions of waiting."""
        waiting = {stage: self.waiting(stage) for stage in WAITS}
        return json.dumps(dataclasses.asdict(self) | {"waiting": waiting}, indent=2)


def summarise(
    trace: Trace,
    sources: Mapping[tuple[str, str], str],
    compiled: Sequence[str] = (),
    *,
    platform: str = "",
    top: int = 15,
) -> Summary:
    """Summarises a trace.

    Args:
      trace: with steps; anything outside of them is left out.
      sources: (program, operation) -> source.
      compiled: see `Summary`.
      platform: of the devices.
      top: number of operations and gaps to keep.

    Example: `summarise(read(path), {}).steps[0].busy_ms`.
    """
    working = merged(op.span for op in trace.ops)
    ops = [op for op in trace.ops if any(step.holds(op.span) for step in trace.steps)]
    named = [(op, sources.get((op.module, op.span.name), "")) for op in ops]
    return Summary(
        platform,
        [_step(trace, step, working) for step in trace.steps],
        _gaps(trace, working, top),
        _works((op.module, "", "", op) for op in ops),
        _works((part(source), "", "", op) for op, source in named),
        _works((op.span.name, op.module, source, op) for op, source in named)[:top],
        _moved(trace),
        list(compiled),
    )


def _step(trace: Trace, step: Span, working: Sequence[Stretch]) -> StepTime:
    """The stages with their own times; the time outside of all of them comes last."""
    inside = [span for span in trace.stages if step.holds(span)]
    spans = [*inside, step._replace(name=OUTSIDE)]
    wall: dict[str, float] = defaultdict(float)
    active: dict[str, float] = defaultdict(float)
    for span, own, own_busy in zip(
        spans, own_lengths(spans), _own_busy(spans, working), strict=True
    ):
        wall[span.name] += own / MS
        active[span.name] += own_busy / MS
    stages = [StageTime(name, wall[name], active[name]) for name in wall]
    whole = busy(working, step.start, step.end) / MS
    return StepTime(step.name, step.length / MS, whole, stages)


def _own_busy(spans: Sequence[Span], working: Sequence[Stretch]) -> list[float]:
    """Each span's busy time, without that of the spans directly inside it."""
    whole = [busy(working, span.start, span.end) for span in spans]
    own = list(whole)
    for index, span in enumerate(spans):
        around = [j for j, wide in enumerate(spans) if j != index and wide.covers(span)]
        if around:
            own[min(around, key=lambda j: spans[j].length)] -= whole[index]
    return own


def _gaps(trace: Trace, working: Sequence[Stretch], top: int) -> list[Gap]:
    """The longest gaps of all steps."""
    idle = [
        (step, Span("", *gap))
        for step in trace.steps
        for gap in gaps(working, step.start, step.end)
    ]
    longest = sorted(idle, key=lambda pair: -pair[1].length)[:top]
    return [_gap(trace, step, span) for step, span in longest]


def _gap(trace: Trace, step: Span, span: Span) -> Gap:
    stages = [stage for stage in trace.stages if stage.holds(span)]
    stage = min(stages, key=lambda stage: stage.length).name if stages else OUTSIDE
    before = (op for op in trace.ops if op.span.end <= span.start)
    after = (op for op in trace.ops if op.span.start >= span.end)
    last = max(before, key=lambda op: op.span.end, default=None)
    first = min(after, key=lambda op: op.span.start, default=None)
    begin = (span.start - step.start) / MS
    return Gap(step.name, begin, span.length / MS, stage, _name(last), _name(first))


def _name(op: Op | None) -> str:
    return f"{op.module}/{op.span.name}".removeprefix("/") if op else ""


def _works(rows: Iterable[tuple[str, str, str, Op]]) -> list[Work]:
    """Groups (name, program, source, operation) by the first three; longest first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    spent: dict[tuple[str, str, str], float] = defaultdict(float)
    for *key, op in rows:
        counts[tuple(key)] += 1
        spent[tuple(key)] += op.own / MS
    total = sum(spent.values()) or 1.0
    works = [Work(*key, counts[key], ms, ms / total) for key, ms in spent.items()]
    return sorted(works, key=lambda work: -work.ms)


def _moved(trace: Trace) -> list[Moved]:
    kinds: dict[str, list[Any]] = defaultdict(list)
    for transfer in trace.transfers:
        if any(step.holds(transfer.span) for step in trace.steps):
            kinds[transfer.kind].append(transfer)
    return [
        Moved(
            kind,
            len(those),
            None if any(t.bytes is None for t in those) else sum(t.bytes for t in those),
            sum(t.span.length for t in those) / MS,
        )
        for kind, those in sorted(kinds.items())
    ]
