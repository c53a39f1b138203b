"""The headline: the numbers of a run, what was done, and what the SFT answers carry."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from orl_jax.report.intervals import wilson
from orl_jax.report.record import Record, find_key
from orl_jax.report.table import MODELS, SPLITS, Row, accuracy_rows
from orl_jax.report.wording import Number

NAMES = {"sft": "after SFT", "rl": "after RL", "control": "control: more SFT"}


@dataclasses.dataclass(frozen=True)
class Tile:
    """A big number: accuracy in [0, 1], its 95 % interval, and the change against SFT."""

    model: str
    name: str
    accuracy: Number
    low: Number
    high: Number
    change: Number | None
    sampled: Number | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """All that the headline says; `None` where the run does not tell.

    Attributes:
      tiles: SFT, RL and the control, as far as they were evaluated.
      before, after, change: greedy test accuracy of SFT and RL, in [0, 1].
      n: items of the test split.
      best, worst: the task types (of the test split) that changed most.
      fallen: task types that fell by more than 3 points.
      composition: the `ALL` row of the held-out-composition split.
      seconds: stage -> seconds.
      algorithm, form, mix, group_size, oracle: of the config.
      systematic_share, random_share: shares of wrong SFT answers, of the config.
    """

    tiles: Sequence[Tile]
    before: Number | None
    after: Number | None
    change: Number | None
    n: int
    best: Row | None
    worst: Row | None
    fallen: Sequence[Row]
    composition: Row | None
    seconds: Mapping[str, Number]
    algorithm: str | None
    form: str | None
    mix: Number | None
    group_size: int | None
    oracle: str | None
    systematic_share: Number | None
    random_share: Number | None


def summary(record: Record) -> Summary:
    """Reads the headline's numbers off the record."""
    rows = {split: accuracy_rows(record.results, split) for split in SPLITS}
    total = rows["test"][-1] if rows["test"] else None
    ordered = sorted((r for r in rows["test"][:-1] if r.change() is not None), key=Row.change)
    return Summary(
        tiles=_tiles(total) if total else (),
        before=total.greedy.get("sft") if total else None,
        after=total.greedy.get("rl") if total else None,
        change=total.change() if total else None,
        n=total.n if total else 0,
        best=ordered[-1] if ordered else None,
        worst=ordered[0] if ordered else None,
        fallen=[row for row in ordered if row.change() < -0.03],
        composition=rows["composition"][-1] if rows["composition"] else None,
        seconds=record.results.get("seconds") or {},
        **_settings(record),
    )


def _tiles(total: Row) -> list[Tile]:
    tiles = []
    for model in sorted(MODELS, key=list(NAMES).index):
        accuracy = total.greedy.get(model)
        if accuracy is not None:
            low, high = wilson(accuracy, total.n)
            change = None if model == "sft" else total.change("greedy", model)
            tiles.append(
                Tile(model, NAMES[model], accuracy, low, high, change, total.sampled.get(model))
            )
    return tiles


def _settings(record: Record) -> dict[str, Any]:
    rl = record.config.get("rl", {})
    scenes = record.config.get("data", {}).get("scenes", {})
    oracle = rl.get("oracle", record.config.get("oracle"))
    if isinstance(oracle, Mapping):
        oracle = find_key(oracle, "name", "kind", "type")
    return {
        "algorithm": rl.get("algorithm"),
        "form": find_key(rl, "form"),
        "mix": find_key(rl, "mix"),
        "group_size": _group_size(record),
        "oracle": oracle if isinstance(oracle, str) else None,
        "systematic_share": scenes.get("systematic_share"),
        "random_share": scenes.get("random_share"),
    }


def _group_size(record: Record) -> int | None:
    """As it was, from the rollouts; from the config where there are none."""
    for step in record.rollout_steps():
        return len(record.rollouts[step][0].get("responses", ())) or None
    return find_key(record.config.get("rl", {}), "group_size", "responses", "G")
