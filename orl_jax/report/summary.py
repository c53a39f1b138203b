"""The headline: the numbers of a run, what was done, and how wrong the SFT answers are."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orl_jax.report.record import Record
from orl_jax.report.statistics import wilson
from orl_jax.report.table import MODELS, SPLITS, Row, accuracy_rows
from orl_jax.report.wording import Number, plain

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
    """What the headline says; `None` where the run does not say.

    Attributes:
      tiles: SFT, RL and the control, as far as they were evaluated.
      before, after, change: greedy test accuracy of SFT and RL, in [0, 1].
      n: items of the test split.
      best, worst: the task types (of the test split) that changed most.
      fallen: task types that fell by more than 3 points.
      composition: the `ALL` row of the held-out-composition split.
      seconds: stage -> seconds.
      algorithm, group_size, oracle: of the config.
      advantage: how the algorithm makes an advantage, in words: the form, then its numbers.
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
    advantage: Sequence[str]
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
    algorithm = record.setting("rl", "algorithm")
    return {
        "algorithm": algorithm,
        "advantage": tuple(_advantage(record, algorithm)),
        "group_size": _group_size(record),
        "oracle": record.setting("oracle", "name"),
        "systematic_share": record.setting("data", "scenes", "systematic_share"),
        "random_share": record.setting("data", "scenes", "random_share"),
    }


def _advantage(record: Record, algorithm: str | None) -> Iterator[str]:
    """What the algorithm reads; the keys of the others are in every config and mean nothing."""
    rl = functools.partial(record.setting, "rl")
    form = {"grpo_rank": rl("advantage", "form"), "grpo": rl("grpo", "form")}.get(algorithm)
    numbers: dict[str, Any] = {}
    if form == "signed":
        numbers["mix"] = rl("advantage", "mix")
    if form == "printed" or numbers.get("mix"):
        numbers["predicted"] = rl("advantage", "predicted")
    if form in ("signed", "printed"):
        numbers["discount"] = rl("advantage", "discount")
    if algorithm == "direct":
        form = rl("direct", "loss")
        numbers = {} if form == "best_of" else {"beta": rl("direct", "beta")}
    if algorithm == "ppo":
        numbers = {"gamma": rl("ppo", "gamma"), "lambda": rl("ppo", "lam")}
    if form:
        yield form
    for name, value in numbers.items():
        if value is not None:
            yield f"{name} {value if isinstance(value, str) else plain(value)}"


def _group_size(record: Record) -> int | None:
    """As it was, from the rollouts; from the config where there are none."""
    for step in record.rollout_steps():
        return len(record.rollouts[step][0].get("responses", ())) or None
    return record.setting("rl", "group_size")
