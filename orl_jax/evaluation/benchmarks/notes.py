"""The notes below a table: why this measure, what was left out, who judged."""

from collections.abc import Iterator

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.benchmarks.measures import TITLES, Scored, is_choice
from orl_jax.evaluation.benchmarks.published import NOTE
from orl_jax.report.statistics import SMALL

_GENERATION = (
    "This data set's own measure is a judge's five scores "
    "(scripts/score.py --protocol=generation), which this report does not show."
)


def notes(benchmark: Benchmark) -> list[str]:
    """Sentences in plain text, the reason for the headline first.

    Example: `notes(benchmark)[0].startswith("Headline:")`.
    """
    measure = benchmark.headline.measure
    said = [f"Headline: {TITLES[measure]}. {benchmark.headline.why}."]
    if benchmark.dataset == "video_chatgpt":
        said.append(_GENERATION)
    said += _about_items(benchmark)
    for model, scored in benchmark.scored.items():
        said += _about_judge(model, scored)
    if any(row["small"] for rows in _rows(benchmark) for row in rows):
        said.append(f"* Fewer than {SMALL} answers of a model count: a hint, not a measurement.")
    if any(row.get("published") for rows in _rows(benchmark) for row in rows):
        said.append(NOTE)
    return said


def _rows(benchmark: Benchmark) -> list[list[dict]]:
    return [[benchmark.all], *benchmark.groups.values()]


def _about_items(benchmark: Benchmark) -> Iterator[str]:
    for model, scored in benchmark.scored.items():
        one = scored.evaluation
        if one.skipped:
            yield f"{model}: {_items(len(one.skipped))} left out, the video could not be read."
        if one.counted is not None and one.counted != len(one.items):
            yield (
                f"{model}: results.json counts {one.counted:,} items, the file of predictions has "
                f"{len(one.items):,}; figures are of the file."
            )
    ways = {model: scored.evaluation.choice for model, scored in benchmark.scored.items()}
    if len(set(ways.values())) > 1 and any(
        is_choice(scored.evaluation.items) for scored in benchmark.scored.values()
    ):
        said = ", ".join(f"{model} by {way or 'an unknown way'}" for model, way in ways.items())
        yield f"Multiple choice was answered in different ways (evaluation.choice): {said}."
    for model in benchmark.others:
        here, there = (
            len(benchmark.scored[m].evaluation.items) for m in (model, benchmark.baseline)
        )
        both = len(benchmark.pairs[model])
        if both < max(here, there):
            yield (
                f"{model} and {benchmark.baseline} share {_items(both)}; {here - both:,} are "
                f"only {model}'s, {there - both:,} only {benchmark.baseline}'s. Differences are "
                "over the shared ones."
            )
    if benchmark.baseline is None:
        yield "The baseline was not evaluated on this, so there are no differences."


def _about_judge(model: str, scored: Scored) -> Iterator[str]:
    verdicts = scored.verdicts
    if verdicts is None:
        return
    counts = ", ".join(f"{count:,} {kind}" for kind, count in verdicts.counts.items())
    who = verdicts.model or "an unnamed judge"
    yield f"{model}, judged by {who}: {verdicts.judged:,} of {len(verdicts.entries):,} ({counts})."
    if not verdicts.model:
        yield (
            f"{model}: the verdicts do not say on which answer they were given, so they are taken "
            "by item."
        )
    elif verdicts.others:
        yield f"{model}: verdicts on other answers or by others, unused: {verdicts.others:,}."


def _items(count: int) -> str:
    return f"{count:,} item" + ("" if count == 1 else "s")
