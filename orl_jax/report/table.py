"""Accuracy before and after, per task type: the rows, and the table that the terminal shows."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from orl_jax.report.statistics import SMALL, Interval, compare
from orl_jax.report.tables import RULE, Line, plain
from orl_jax.report.wording import Number

MODELS = ("sft", "control", "rl")
TITLES = {"sft": "SFT", "control": "control", "rl": "RL"}
SPLITS = ("test", "composition")
SPLIT_TITLES = {"test": "test", "composition": "held-out composition"}
ALL = "all"
# In the order of preference: the name in results.json, and how it is said.
MEASURES = {"accuracy": "greedy", "sampled_accuracy": "sampled"}
FACTS = {"fact_score": "fact score, greedy", "sampled_fact_score": "fact score, sampled"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One task type, or `ALL`.

    Attributes:
      name: the task type.
      n: number of items.
      greedy, sampled: model ("sft", "control", "rl") -> accuracy in [0, 1], or None.
      facts: the same of each measure of `FACTS`, which only descriptions have.
    """

    name: str
    n: int
    greedy: Mapping[str, Number | None]
    sampled: Mapping[str, Number | None]
    facts: Mapping[str, Mapping[str, Number | None]] = dataclasses.field(default_factory=dict)

    @property
    def small(self) -> bool:
        """Whether there are too few items for more than a hint."""
        return self.n < SMALL

    def change(self, measure: str = "greedy", model: str = "rl") -> Number | None:
        """Accuracy of `model` minus that of SFT, in [-1, 1]; None where either is missing."""
        values = self.facts[measure] if measure in self.facts else getattr(self, measure)
        before, after = values.get("sft"), values.get(model)
        return None if before is None or after is None else after - before


def accuracy_rows(results: Mapping[str, Any], split: str) -> list[Row]:
    """Task types in alphabetical order, then `ALL`; empty where the split was not evaluated.

    Args:
      results: content of the demo's `results.json`.
      split: "test" or "composition".
    """
    found = {model: _split(results.get(model), split) for model in MODELS}
    if not any(found.values()):
        return []
    names = sorted({name for result in found.values() for name in result.get("categories", {})})
    cells = [
        (name, {m: r.get("categories", {}).get(name, {}) for m, r in found.items()})
        for name in names
    ]
    return [_row(name, cell) for name, cell in [*cells, (ALL, found)]]


def paired_change(
    predictions: Mapping[str, Mapping[str, Mapping[str, Any]]], split: str, row: Row
) -> Interval | None:
    """The change from SFT to RL with its interval, from both models' answers to the same items.

    None where the answers are not all there, or do not add up to the row's change: an interval for
    independent samples would be the wrong one, and is not shown in its place.

    Args:
      predictions: "sft_test" and so on -> item id -> row of the file, see `Record`.
      split: "test" or "composition".
      row: of `accuracy_rows`.

    Example: `paired_change(record.predictions, "test", row)["low"]`.
    """
    sft, rl = (predictions.get(f"{model}_{split}", {}) for model in ("sft", "rl"))
    items = [
        item
        for item, answer in sft.items()
        if item in rl and row.name in (ALL, answer.get("task_type"))
    ]
    if row.change() is None or len(items) != row.n:
        return None
    before, after = ([float(each[item]["correct"]) for item in items] for each in (sft, rl))
    found = compare(after, before)["difference"]
    return found if math.isclose(found["mean"], row.change(), abs_tol=1e-6) else None


def accuracy_table(results: Mapping[str, Any]) -> str:
    """The table before -> after as plain ASCII, one block per split.

    Args:
      results: content of the demo's `results.json`; "control" and either split may be missing.

    Returns:
      Lines without a trailing newline. Accuracies are in per cent, changes in points.

    Example: `print(accuracy_table(json.loads(path.read_text())))` prints

        Exact match in %, test split
        --------------------------------------
        task type       n    SFT    RL  change
        counting     180    48.3  71.1   +22.8
    """
    blocks = [(split, accuracy_rows(results, split)) for split in SPLITS]
    blocks = [(split, rows) for split, rows in blocks if rows]
    if not blocks:
        return "No evaluation to show: results.json has neither an `sft` nor an `rl` entry."
    models = [
        m for m in MODELS if any(r.greedy.get(m) is not None for _, rows in blocks for r in rows)
    ]
    made = {split: list(_block(rows, models)) for split, rows in blocks}
    aligned = iter(plain([row for rows in made.values() for row in rows]))
    lines = []
    for split, rows in made.items():
        lines += [f"Exact match in %, {SPLIT_TITLES[split]} split", *islice(aligned, len(rows)), ""]
    if any(row.small for _, rows in blocks for row in rows):
        lines.append(f"* fewer than {SMALL} items: a hint, not a measurement")
    return "\n".join(lines).rstrip()


def _split(evaluation: Mapping[str, Any] | None, split: str) -> Mapping[str, Any]:
    if not evaluation:
        return {}
    splits = evaluation.get("splits") or {}
    if split in splits:
        return splits[split]
    # An evaluation of a single split holds it only at the top level.
    return evaluation if evaluation.get("split", "test") == split and not splits else {}


def _row(name: str, cells: Mapping[str, Mapping[str, Any]]) -> Row:
    values = {m: {model: cell.get(m) for model, cell in cells.items()} for m in (*MEASURES, *FACTS)}
    n = max(int(cell.get("n") or 0) for cell in cells.values())
    facts = {name: values[name] for name in FACTS}
    return Row(name, n, values["accuracy"], values["sampled_accuracy"], facts)


def _block(rows: list[Row], models: list[str]) -> Iterator[Line]:
    yield RULE
    yield ["task type", "n ", *(TITLES[model] for model in models), "change"]
    yield from (_line(row.name, row, "greedy", models) for row in rows[:-1])
    yield RULE
    yield _line("all, greedy", rows[-1], "greedy", models)
    if any(value is not None for value in rows[-1].sampled.values()):
        yield _line("all, sampled", rows[-1], "sampled", models)
    for measure, title in FACTS.items():
        if any(value is not None for value in rows[-1].facts[measure].values()):
            yield _line(title, rows[-1], measure, models)


def _line(name: str, row: Row, measure: str, models: list[str]) -> list[str]:
    values = row.facts[measure] if measure in row.facts else getattr(row, measure)
    change = row.change(measure)
    points = "-" if change is None else f"{100 * change:+.1f}"
    n = f"{row.n}{'*' if row.small else ' '}"
    return [name, n, *(_percent(values.get(model)) for model in models), points]


def _percent(value: Number | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
