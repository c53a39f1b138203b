"""One data set and split: its models, how they scored, and the tables of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

from orl_jax.data.benchmarks.registry import BENCHMARKS
from orl_jax.evaluation.benchmarks.cells import Pairs, Row, pair_up, row, rows
from orl_jax.evaluation.benchmarks.evaluations import Evaluation
from orl_jax.evaluation.benchmarks.measures import TITLES, Headline, Scored, score_all
from orl_jax.evaluation.benchmarks.published import ALL, published
from orl_jax.evaluation.scoring.judging import Settings
from orl_jax.evaluation.scoring.predictions import Item, task_type
from orl_jax.evaluation.scoring.submission import OF_VIDEO

_DURATIONS = ("short", "medium", "long")  # in this order, others after them


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A benchmark with its numbers.

    Attributes:
      dataset, split: as the evaluations name them.
      title: for people.
      headline: the measure that it is read by.
      measures: all of them, the headline first.
      scored: by model, in the order of the command.
      baseline: the model that others are compared with; None where it was not evaluated on this.
      pairs: places of shared items.
      all: the row of all items.
      groups: "task_type" and what else Video-MME has -> rows.
    """

    dataset: str
    split: str
    title: str
    headline: Headline
    measures: list[str]
    scored: Mapping[str, Scored]
    baseline: str | None
    pairs: Pairs
    all: Row
    groups: Mapping[str, list[Row]]

    @property
    def key(self) -> str:
        """A name that no other benchmark has."""
        return f"{self.dataset}-{self.split}"

    @property
    def others(self) -> list[str]:
        """The models that are compared with the baseline."""
        return [model for model in self.scored if self.baseline and model != self.baseline]


def read_benchmarks(
    evaluations: Sequence[Evaluation], baseline: str, judge: Settings, progress: bool = False
) -> list[Benchmark]:
    """The benchmarks of evaluations, in the order of their first appearance.

    Args:
      evaluations: of `read_evaluations`.
      baseline: the name that others are compared with.
      judge: whose verdicts count, where several judges have spoken.
      progress: whether to show a bar.

    Raises:
      UserError: models of a benchmark that share no items, or differ in what the items are.

    Example: `read_benchmarks(evaluations, "SFT", Settings())[0].all["n"]`.
    """
    found: dict[tuple[str, str], list[Evaluation]] = {}
    for one in evaluations:
        found.setdefault((one.dataset, one.split), []).append(one)
    bar = tqdm(found.values(), "benchmarks", disable=not progress)
    return [_benchmark(models, baseline, judge) for models in bar]


def _benchmark(evaluations: Sequence[Evaluation], baseline: str, judge: Settings) -> Benchmark:
    first = evaluations[0]
    title = name_of(first.dataset)
    many, headline = score_all(evaluations, judge)
    scored = {each.evaluation.model: each for each in many}
    base = baseline if baseline in scored else None
    pairs = pair_up(scored, base, f"{title}, {first.split}") if base else {}
    names = {name for each in many for name in each.measures}
    measures = sorted(names, key=lambda n: (n != headline.measure, list(TITLES).index(n)))
    of_all = row(ALL, scored, base, pairs, measures)
    groups = {"task_type": list(rows(scored, base, pairs, measures, task_type))}
    for name in OF_VIDEO:
        groups[name] = list(rows(scored, base, pairs, measures[:1], _field(name)))
    groups["duration"].sort(key=_by_length)
    for each in (of_all, *groups["task_type"]):
        each["published"] = published(first.dataset, first.split, each["name"])
    return Benchmark(
        first.dataset, first.split, title, headline, measures, scored, base, pairs, of_all,
        {name: each for name, each in groups.items() if each},
    )  # fmt: skip


def name_of(dataset: str) -> str:
    """What people call a data set.

    Example: `name_of("msvd_qa") == "MSVD-QA"`.
    """
    ours = {"own": "Own data", "shapes_video_qa": "The embedded world"}
    title = ours.get(dataset) or (BENCHMARKS[dataset].title if dataset in BENCHMARKS else dataset)
    return title[:1].upper() + title[1:]


def _field(name: str) -> Callable[[Item], str]:
    return lambda item: str(item.get(name) or "")


def _by_length(row: Row) -> int:
    name = row["name"]
    return _DURATIONS.index(name) if name in _DURATIONS else len(_DURATIONS)
