"""Items that show where models differ: right only in the baseline, only in another, in none.

Nothing is picked by hand: a hash of the seed and the item's name puts them in order.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.benchmarks.measures import right
from orl_jax.evaluation.scoring.predictions import Item, task_type
from orl_jax.evaluation.scoring.video_mme import option_text
from orl_jax.report.frames import Frames

_MOST = 800  # characters of a text that are shown
Marks = Mapping[str, Mapping[str, float]]  # model -> item id -> 1 right, 0 wrong, NaN unknown


@dataclasses.dataclass(frozen=True)
class Example:
    """An item with every model's answer: (model, response, right; None where it was not judged).

    `options` have their letters; `lettered` says whether the reference is one of these.
    """

    item_id: str
    question: str
    options: Sequence[str]
    reference: str
    lettered: bool
    video: str
    frames: Sequence[str]
    answers: Sequence[tuple[str, str, bool | None]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """Examples of one kind; `count` is how many items there are of it."""

    title: str
    count: int
    examples: Sequence[Example]


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A task type; the name is "" where items have none."""

    name: str
    kinds: Sequence[Kind]


def chapters(
    benchmark: Benchmark, frames: Frames, *, examples: int, seed: int, progress: bool = False
) -> list[Chapter]:
    """A chapter for each task type, in alphabetical order.

    Args:
      benchmark: the models and their items.
      frames: reads clips.
      examples: of each kind, at most.
      seed: of the choice.
      progress: whether to show a bar; frames of long videos take a while.

    Example: `chapters(benchmark, frames, examples=3, seed=0)[0].kinds[0].title`.
    """
    items = {
        model: {item["item_id"]: item for item in each.evaluation.items}
        for model, each in benchmark.scored.items()
    }
    marks = {
        model: dict(zip(items[model], right(each, benchmark.headline), strict=True))
        for model, each in benchmark.scored.items()
    }
    of_type: dict[str, list[str]] = {}
    for item_id, item in {k: v for each in items.values() for k, v in each.items()}.items():
        of_type.setdefault(task_type(item), []).append(item_id)
    bar = tqdm(
        sorted(of_type), f"frames of {benchmark.title}", disable=not progress or not examples
    )
    found = []
    for name in bar:
        ordered = sorted(of_type[name], key=lambda item_id: _hash(f"{seed} {item_id}"))
        kinds = [
            Kind(title, len(ids), [_example(i, items, marks, frames) for i in ids[:examples]])
            for title, ids in _kinds(benchmark, ordered, marks).items()
        ]
        found.append(Chapter(name, kinds))
    return found


def _kinds(benchmark: Benchmark, ids: Sequence[str], marks: Marks) -> dict[str, list[str]]:
    base = benchmark.baseline
    kinds = {}
    for model in benchmark.others:
        for winner, loser in ((base, model), (model, base)):
            kinds[f"{winner} right, {loser} wrong"] = [
                i for i in ids if marks[winner].get(i) == 1 and marks[loser].get(i) == 0
            ]
    title = "Wrong in all" if len(marks) > 1 else "Wrong"
    kinds[title] = [i for i in ids if all(each.get(i) == 0 for each in marks.values())]
    return kinds


def _example(
    item_id: str, items: Mapping[str, Mapping[str, Item]], marks: Marks, frames: Frames
) -> Example:
    answers = [
        (model, _cut(each[item_id]["response"]), _verdict(marks[model][item_id]))
        for model, each in items.items()
        if item_id in each
    ]
    item = next(each[item_id] for each in items.values() if item_id in each)
    video = str(item.get("video") or "")
    options = [
        f"{chr(ord('A') + place)}. {_cut(option_text(text))}"
        for place, text in enumerate(item.get("options") or ())
    ]
    lettered = any(option.startswith(f"{item['reference']}.") for option in options)
    return Example(
        item_id=item_id,
        question=_cut(item.get("question")),
        options=options,
        reference=_cut(item["reference"]),
        lettered=lettered,
        video=video,
        frames=frames(video) if video else (),
        answers=answers,
    )


def _verdict(mark: float) -> bool | None:
    return None if mark not in (0, 1) else bool(mark)


def _cut(text: Any) -> str:
    text = str(text or "")
    return text if len(text) <= _MOST else text[:_MOST].rstrip() + " …"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
