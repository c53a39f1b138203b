"""`benchmarks.html`: one file that opens offline, in light and in dark, with no script in it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.benchmarks.examples import Chapter
from orl_jax.evaluation.benchmarks.measures import TITLES
from orl_jax.evaluation.benchmarks.notes import notes
from orl_jax.evaluation.benchmarks.pictures import colours, headline_bars, headline_radar
from orl_jax.evaluation.benchmarks.published import ADDRESS
from orl_jax.evaluation.benchmarks.summary import number, probability, summary
from orl_jax.report import html
from orl_jax.report.wording import MINUS
from orl_jax.run.files import write_atomic

_TEMPLATE = "benchmarks.html.jinja"
_GROUPS = {
    "task_type": "task type", "duration": "duration", "domain": "domain",
    "sub_category": "sub-category",
}  # fmt: skip


def write_page(
    path: pathlib.Path,
    benchmarks: Sequence[Benchmark],
    gallery: Mapping[str, Sequence[Chapter]],
    *,
    baseline: str,
    seed: int,
) -> None:
    """Writes the page; whatever comes out of predictions is escaped.

    Args:
      path: for example WORKDIR/benchmarks.html.
      benchmarks: what to show.
      gallery: key of a benchmark -> its chapters.
      baseline: the model that others are compared with.
      seed: of the examples, to be said.

    Example: `write_page(path, benchmarks, {}, baseline="SFT", seed=0)`.
    """
    models = list(dict.fromkeys(model for each in benchmarks for model in each.scored))
    colour = colours(models)
    content = {
        "models": models,
        "baseline": baseline,
        "colour": colour,
        "summary": summary(benchmarks),
        "sections": [_section(each, colour, gallery.get(each.key, ())) for each in benchmarks],
        "group_names": _GROUPS,
        "titles": TITLES,
        "address": ADDRESS,
        "seed": seed,
    }
    write_atomic(path, _environment().get_template(_TEMPLATE).render(content))


def _section(
    benchmark: Benchmark, colour: Mapping[str, str], chapters: Sequence[Chapter]
) -> dict[str, Any]:
    return {
        "key": benchmark.key,
        "benchmark": benchmark,
        "notes": notes(benchmark),
        "bars": headline_bars(benchmark, colour),
        "radar": headline_radar(benchmark, colour),
        "chapters": chapters,
    }


def _environment() -> jinja2.Environment:
    env = html.templates(pathlib.Path(__file__).parent)
    env.filters |= {"number": _number, "signed_number": _signed, "p": probability}
    return env


def _number(value: float | None, measure: str) -> str:
    return number(value, measure)


def _signed(value: float | None, measure: str) -> str:
    return number(value, measure, "+").replace("-", MINUS)
