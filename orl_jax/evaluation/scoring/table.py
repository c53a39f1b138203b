"""What the terminal shows of scores: a line a task type, with intervals, small cells marked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orl_jax.evaluation.scoring.cells import is_score

_NAME, _CELL = 24, 24  # characters
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
    lines = [_line("", "n", names), *_group(groups.pop("task_type", {}), names)]
    lines.append(_row("all", summary["all"], names))
    for name, cells in groups.items():
        lines += ["", name, *_group(cells, names)]
    if any("*" in line for line in lines):
        lines.append("* fewer than 100 answers count: a hint at best")
    for name, counts in summary.get("counts", {}).items():
        lines.append(f"{name}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return "\n".join(line.rstrip() for line in lines)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """A line a measure: the difference with its interval, and McNemar's test.

    Example: `print(comparison_table(comparison(first, second)))`.
    """
    lines = [
        f"difference on the {comparison['n']} items of both "
        f"({comparison['only_here']} are here alone, {comparison['only_there']} there)"
    ]
    for name, found in comparison["measures"].items():
        test = found["mcnemar"]
        said = "" if test is None else (
            f"only here right {test['only_first']}, only there {test['only_second']}, "
            f"p = {test['p']:.3g}"
        )  # fmt: skip
        cell = _text(found["difference"], name, sign="+")
        lines.append(f"  {name:{_NAME}} {cell:{_CELL}} {said}".rstrip())
    return "\n".join(lines)


def _group(cells: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name, cell in cells.items():
        yield _row(name, cell, names)


def _row(name: str, cell: Mapping[str, Any], names: Sequence[str]) -> str:
    marked = f"{name}*" if cell["small"] else name
    return _line(marked, str(cell["n"]), [_text(cell[each], each) for each in names])


def _line(name: str, n: str, cells: Sequence[str]) -> str:
    return f"{name:{_NAME}} {n:>6}  " + " ".join(f"{cell:{_CELL}}" for cell in cells)


def _text(found: Mapping[str, Any], measure: str, sign: str = "") -> str:
    if found["mean"] is None:
        return "none"
    factor, digits = (1, 2) if is_score(measure) else (100, 1)
    mean, low, high = (factor * found[key] for key in ("mean", "low", "high"))
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
