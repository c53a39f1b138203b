"""What the terminal shows of scores: a line per task type, with intervals, small cells marked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orl_jax.evaluation.scoring.cells import is_score
from orl_jax.report.tables import plain

_COUNTS = frozenset(("n", "small"))


def table(summary: Mapping[str, Any]) -> str:
    """The task types and all items; other groupings of more than one cell below.

    Shares are in %, scores of a judge from 0 to 5.

    Example: `print(table(score(path, Protocol("text")).summary()))`.
    """
    names = [name for name in summary["all"] if name not in _COUNTS]
    groups = {
        name: cells
        for name in ("task_type", "duration", "domain", "sub_category")
        if (cells := summary.get(name)) and (name == "task_type" or len(cells) > 1)
    }
    rows = [["", "n", *names], *_group(groups.pop("task_type", {}), names)]
    rows.append(_row("all", summary["all"], names))
    for name, cells in groups.items():
        rows += [[""], [name], *_group(cells, names)]
    lines = plain(rows, texts=set(range(len(names) + 2)) - {1})
    if any("*" in line for line in lines):
        lines.append("* fewer than 100 answers count: a hint at best")
    for name, counts in summary.get("counts", {}).items():
        lines.append(f"{name}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return "\n".join(lines)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """One line per measure: the difference with its interval, and McNemar's test.

    Example: `print(comparison_table(comparison(first, second)))`.
    """
    head = (
        f"difference on the {comparison['n']} items of both "
        f"({comparison['only_here']} only here, {comparison['only_there']} only there)"
    )
    rows = []
    for name, found in comparison["measures"].items():
        test = found["mcnemar"]
        said = "" if test is None else (
            f"right only here {test['only_first']}, only there {test['only_second']}, "
            f"p = {test['p']:.3g}"
        )  # fmt: skip
        rows.append([f"  {name}", _text(found["difference"], name, sign="+"), said])
    return "\n".join([head, *plain(rows, texts=range(3))])


def _group(cells: Mapping[str, Any], names: Sequence[str]) -> Iterator[list[str]]:
    for name, cell in cells.items():
        yield _row(name, cell, names)


def _row(name: str, cell: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    marked = f"{name}*" if cell["small"] else name
    return [marked, str(cell["n"]), *(_text(cell[each], each) for each in names)]


def _text(found: Mapping[str, Any], measure: str, sign: str = "") -> str:
    if found["mean"] is None:
        return "none"
    factor, digits = (1, 2) if is_score(measure) else (100, 1)
    mean, low, high = (factor * found[key] for key in ("mean", "low", "high"))
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
