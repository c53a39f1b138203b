"""Protocols by name: from the items of a file to a number per item and measure, and their means.

Two files are compared by the first measure of their protocol. `text` needs `reference`;
`video_mme` a letter there; `judge` and `generation` ask the served model of the section `judge`.
"""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.evaluation.scoring import generation, qa_judge, text_match
from orl_jax.evaluation.scoring.cells import Measures, by, cell, limits
from orl_jax.evaluation.scoring.judging import Judge, Settings
from orl_jax.evaluation.scoring.paired import shared
from orl_jax.evaluation.scoring.predictions import Item, need, read_predictions, task_type
from orl_jax.evaluation.scoring.submission import OF_VIDEO
from orl_jax.evaluation.scoring.video_mme import LETTERS, official_letter, strict_letter
from orl_jax.report.statistics import compare
from orl_jax.run.errors import UserError
from orl_jax.run.files import Journal
from orl_jax.run.lock import Lock

_log = logging.getLogger(__name__)
JUDGED = ("judge", "generation")  # those that ask a served model
PROTOCOLS = ("text", "video_mme", *JUDGED)
_TEXT = {
    "normalised": text_match.normalised,
    "exact": text_match.exact,
    "squad_exact": text_match.squad_exact,
    "f1": text_match.token_f1,
    "contains_word": text_match.contains_word,
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What to count.

    Attributes:
      name: one of `PROTOCOLS`.
      judge: who is asked, by `judge` and `generation`.
      dimensions: of `generation`.
      official_bugs: of `generation`, see there.
    """

    name: str
    judge: Settings = dataclasses.field(default_factory=Settings)
    dimensions: tuple[str, ...] = generation.DEFAULT
    official_bugs: bool = False


@dataclasses.dataclass(frozen=True)
class Scored:
    """A file, scored: its items, a number of each by measure, and what else was counted."""

    items: list[Item]
    measures: Measures
    about: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Means with intervals of all items, of each task type and of what else groups them."""
        groups = {"task_type": by(self.items, task_type, self.measures)}
        for name in OF_VIDEO:
            cells = by(self.items, lambda item, name=name: item.get(name) or "", self.measures)
            groups |= {name: cells} if cells else {}
        return {"all": cell(self.measures), **groups, **self.about}


def score(path: str | pathlib.Path, protocol: Protocol, progress: bool = False) -> Scored:
    """Scores a file of predictions.

    What a judge says goes to `STEM.PROTOCOL.judged.jsonl` next to the file at once.

    Raises:
      UserError: an unknown protocol, a file that cannot be read, items without what it needs;
        another process scores this file by this protocol.
      Failure: the judge's server is down.

    Example: `score("rl_test.jsonl", Protocol("text")).summary()["all"]["normalised"]["mean"]`.
    """
    if protocol.name not in PROTOCOLS:
        raise UserError(
            f"--protocol={protocol.name} is unknown; choose from {', '.join(PROTOCOLS)}"
        )
    path = pathlib.Path(path)
    items = read_predictions(path)
    if protocol.name not in JUDGED:
        need(items, ("reference",), f"--protocol={protocol.name}")
        measures = text_measures(items) if protocol.name == "text" else choice_measures(items)
        return Scored(items, measures, {})
    return _judged(path, items, protocol, progress)


def text_measures(items: Sequence[Item]) -> dict[str, list[float]]:
    """Numbers of each item by measure of `text_match`.

    Example: `text_measures(items)["f1"]`.
    """
    accepted = [[item["reference"], *(item.get("paraphrases") or ())] for item in items]
    pairs = [(item["response"], texts) for item, texts in zip(items, accepted, strict=True)]
    return {name: [float(rule(*pair)) for pair in pairs] for name, rule in _TEXT.items()}


def choice_measures(items: Sequence[Item]) -> dict[str, list[float]]:
    """Numbers of each item by measure of `video_mme`.

    `official` and `strict` have none (NaN) where the response is unanswered, as the official
    accuracy; with `_of_all` such a response is wrong.

    Raises:
      UserError: a reference that is not a letter from A to D.

    Example: `choice_measures(items)["official"]`.
    """
    for item in items:
        if item["reference"] not in tuple(LETTERS):
            raise UserError(
                f"item {item['item_id']!r} has the reference {item['reference']!r:.40}; "
                "--protocol=video_mme needs one of A, B, C, D"
            )
    letters = {
        "official": [official_letter(item["response"]) for item in items],
        "strict": [strict_letter(item["response"], item.get("options") or ()) for item in items],
    }
    found = {}
    for name, said in letters.items():
        right = [float(a == item["reference"]) for a, item in zip(said, items, strict=True)]
        found[name] = [r if a else math.nan for a, r in zip(said, right, strict=True)]
        found[f"{name}_of_all"] = right
    return found


def comparison(first: Scored, second: Scored) -> dict[str, Any]:
    """Every measure of the first file minus that of the second, over the items of both.

    Raises:
      UserError: no item is in both, or one differs.
    """
    pairs = shared(first.items, second.items)
    found = {
        name: compare(
            [values[one] for one, _ in pairs],
            [second.measures[name][other] for _, other in pairs],
            limits(name),
        )
        for name, values in first.measures.items()
    }
    only = {
        "only_here": len(first.items) - len(pairs),
        "only_there": len(second.items) - len(pairs),
    }
    return {"n": len(pairs), **only, "measures": found}


def _judged(path: pathlib.Path, items: list[Item], protocol: Protocol, progress: bool) -> Scored:
    sets = _questions(items, protocol)
    place = path.with_name(f"{path.stem}.{protocol.name}.judged.jsonl")
    # Two runs would each ask what the other has not written yet: everything twice.
    with Lock(place, "wait for it, or score a copy of the predictions"), Journal(place) as journal:
        judge = Judge(protocol.judge, journal)
        try:
            said = {
                name: judge.ask(each, f"{path.stem}: {name}" if progress else "")
                for name, each in sets.items()
            }
        finally:
            judge.close()
    counts = {name: qa_judge.counts(entries) for name, entries in said.items()}
    if failed := sum(count["failed"] for count in counts.values()):
        _log.warning("%d questions failed and are not counted; ask again: same command", failed)
    if protocol.name == "judge":
        measures = qa_judge.measures(said["judge"])
    else:
        measures = {name: qa_judge.scores(entries) for name, entries in said.items()}
    asked = {"model": protocol.judge.model, "official_bugs": protocol.official_bugs}
    return Scored(items, measures, {"judge": asked, "counts": counts})


def _questions(items: list[Item], protocol: Protocol) -> dict[str, Any]:
    if protocol.name == "judge":
        need(items, ("question", "reference"), "--protocol=judge")
        return {"judge": qa_judge.questions(items)}
    return {
        name: generation.questions(items, name, protocol.official_bugs)
        for name in protocol.dimensions
    }
