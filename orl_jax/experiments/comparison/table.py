"""The comparison as Markdown tables, in per cent."""

from collections.abc import Mapping
from typing import Any

from orl_jax.report.tables import markdown

NOTHING = "–"


def to_markdown(summary: dict[str, Any]) -> str:
    """A table of all arms, and one of the task types, both on the summary's split."""
    return f"{_overall(summary)}\n\n{_by_type(summary)}\n"


def _overall(summary: dict[str, Any]) -> str:
    split, start, measure = summary["split"], summary["start"], summary["measure"]
    others = [name for name in start if name != split]
    columns = [
        "arm", "seeds", f"{split}{_named(measure)} [95 %]", "sampled", *others,
        f"against {summary['baseline']}", "KL", "entropy", "tokens",
        "direction", "alarms (runs, first step)",
    ]  # fmt: skip
    rows = [
        [
            "start", NOTHING, _percent(start[split][measure]),
            _percent(start[split].get(f"sampled_{measure}")),
            *(_percent(start[name].get(measure)) for name in others), *[NOTHING] * 6,
        ]
    ]  # fmt: skip
    for name, arm in summary["arms"].items():
        of_split = arm["splits"][split]
        rows.append(
            [
                name, str(len(arm["seeds"])), _interval(of_split[measure]),
                _percent(of_split.get(f"sampled_{measure}", {}).get("mean")),
                *(_percent(arm["splits"][other].get(measure, {}).get("mean")) for other in others),
                _interval(arm["against_baseline"], signed=True),
                _number(arm["last"].get("kl"), 3), _number(arm["last"].get("entropy"), 3),
                _number(arm["last"].get("response/length_mean"), 1),
                _number(arm["first_direction"], 2, signed=True), _alarms(arm["alarms"]),
            ]
        )  # fmt: skip
    return "\n".join(markdown(columns, rows, (0, len(columns) - 1)))


def _by_type(summary: dict[str, Any]) -> str:
    """Change of every task type from the start, in points."""
    measure = summary["measure"]
    types = summary["start"][summary["split"]]["categories"]
    types = {name: found for name, found in types.items() if measure in found}
    columns = ["change from the start, points", *(f"{t} ({types[t]['n']})" for t in types)]
    rows = [["start", *(_percent(types[t][measure]) for t in types)]]
    for name, arm in summary["arms"].items():
        changes = [arm["categories"][t]["mean"] - types[t][measure] for t in types]
        rows.append([name, *(f"{100 * change:+.1f}" for change in changes)])
    return "\n".join(markdown(columns, rows))


def _named(measure: str) -> str:
    """Accuracy needs no name."""
    return "" if measure == "accuracy" else f", {measure.replace('_', ' ')}"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f}"


def _interval(interval: Mapping[str, Any] | None, signed: bool = False) -> str:
    """Without its limits where there are none: one seed, or the same value of every seed."""
    if interval is None:
        return NOTHING
    form = "+.1f" if signed else ".1f"
    if interval["low"] is None:
        return format(100 * interval["mean"], form)
    mean, low, high = (format(100 * interval[key], form) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _number(value: float | None, digits: int, signed: bool = False) -> str:
    return NOTHING if value is None else f"{value:{'+' if signed else ''}.{digits}f}"


def _alarms(alarms: dict[str, dict[str, float]]) -> str:
    return ", ".join(f"{name} ({a['runs']}, {a['step']})" for name, a in alarms.items()) or NOTHING
