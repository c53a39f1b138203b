"""A summary as a page of Markdown, for the terminal and for a file."""

from collections.abc import Collection, Iterable, Sequence

from orl_jax.performance.profiling.summary import WAITS, Moved, StepTime, Summary, Work
from orl_jax.report.tables import markdown

PROGRAMS = 5  # to show; small ones are many
SOURCE = 60  # letters of an operation's source to show, from its end


def render(summary: Summary, gaps: int = 5) -> str:
    """The whole of it.

    Args:
      gaps: the longest ones to show.

    Example: `print(render(summarise(read(path), {})))`.
    """
    parts = [
        f"# {len(summary.steps)} traced steps on {summary.platform or 'the device'}",
        _waits(summary),
        _compiled(summary),
        "## Stages\n\n" + _stages(summary.steps),
        "## Longest idle gaps\n\n" + _gaps(summary, gaps),
        "## Programs\n\n" + _works(summary.programs[:PROGRAMS], "program"),
        "## Parts\n\n" + _works(summary.parts, "part"),
        "## Operations by their own time\n\n" + _ops(summary.ops),
        "## Transfers\n\n" + _transfers(summary.transfers),
    ]
    return "\n\n".join(parts) + "\n"


def _waits(summary: Summary) -> str:
    total = sum(step.ms for step in summary.steps) or 1.0
    busy = sum(step.busy_ms for step in summary.steps) / total
    waits = ", ".join(f"waiting for {stage} {summary.waiting(stage):.1%}" for stage in WAITS)
    return f"Of the steps' time: a device busy {busy:.1%}, {waits}."


def _compiled(summary: Summary) -> str:
    if not summary.compiled:
        return "Compilations in the traced steps: 0."
    names = ", ".join(dict.fromkeys(summary.compiled))
    return f"Compilations in the traced steps: {len(summary.compiled)}, of {names}."


def _stages(steps: Sequence[StepTime]) -> str:
    """One row per step and stage."""
    rows = []
    for step in steps:
        rows.append((step.step, "**step**", step.ms, step.busy_ms, 1.0))
        rows += [
            (step.step, stage.name, stage.ms, stage.busy_ms, step.share(stage.name))
            for stage in step.stages
        ]
    cells = (
        (step, name, f"{ms:.1f}", f"{busy:.1f}", f"{share:.1%}")
        for step, name, ms, busy, share in rows
    )
    return _table(("step", "stage", "ms", "busy ms", "of step"), cells, (1,))


def _gaps(summary: Summary, count: int) -> str:
    cells = (
        (gap.step, f"{gap.start_ms:.1f}", f"{gap.ms:.1f}", gap.stage, gap.before, gap.after)
        for gap in summary.gaps[:count]
    )
    return _table(("step", "from ms", "ms", "stage", "after", "before"), cells, (3, 4, 5))


def _works(works: Sequence[Work], kind: str) -> str:
    cells = ((work.name, f"{work.ms:.1f}", f"{work.share:.1%}", f"{work.count}") for work in works)
    return _table((kind, "own ms", "share", "operations"), cells, (0,))


def _ops(works: Sequence[Work]) -> str:
    cells = (
        (w.name, w.program, f"{w.ms:.1f}", f"{w.share:.1%}", f"{w.count}", w.source[-SOURCE:])
        for w in works
    )
    return _table(("operation", "program", "own ms", "share", "count", "from"), cells, (0, 1, 5))


def _transfers(moved: Sequence[Moved]) -> str:
    cells = (
        (m.kind, f"{m.count}", "?" if m.bytes is None else f"{m.bytes}", f"{m.ms:.1f}")
        for m in moved
    )
    return _table(("kind", "count", "bytes", "ms"), cells, (0,))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: Collection[int]) -> str:
    lines = list(rows)
    return "\n".join(markdown(head, lines, texts)) if lines else "none"
