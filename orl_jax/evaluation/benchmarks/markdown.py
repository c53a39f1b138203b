"""`benchmarks.md`: the tables in GitHub's Markdown, for a README or the appendix of a paper."""

from collections.abc import Iterator, Sequence
from typing import Any

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.benchmarks.cells import Row
from orl_jax.evaluation.benchmarks.measures import TITLES
from orl_jax.evaluation.benchmarks.notes import notes
from orl_jax.evaluation.benchmarks.published import NOTE
from orl_jax.evaluation.benchmarks.summary import number, probability, summary
from orl_jax.report import tables
from orl_jax.report.wording import MINUS, MISSING

_PUBLISHED = {"oracle_rlaif": "Oracle-RLAIF (published)", "vlm_rlaif": "VLM-RLAIF (published)",
              "difference": "change (published)"}  # fmt: skip
_GROUPS = {"duration": "duration", "domain": "domain", "sub_category": "sub-category"}
_READING = (
    "In brackets: 95 % intervals over items (right or wrong: Wilson's, differences Newcombe's for "
    "the same items; other numbers: bootstrap). Bold with ▲ or ▼: the interval of the difference "
    "leaves 0 out, with p below 0.05. p: McNemar's exact test."
)
_MARKS = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"})


def markdown(benchmarks: Sequence[Benchmark]) -> str:
    """The whole file.

    Example: `path.write_text(markdown(benchmarks))`.
    """
    parts = ["# Benchmarks", "", *_summary(benchmarks), "", _READING]
    if any(each.all["published"] for each in benchmarks):
        parts.append(NOTE)
    for each in benchmarks:
        parts += ["", f"## {_plain(each.title)}, {_plain(each.split)}", "", *_section(each)]
    return "\n".join(parts) + "\n"


def _summary(benchmarks: Sequence[Benchmark]) -> list[str]:
    heads = ["benchmark", "measure", "model", "n", "accuracy", "difference", "p"]
    cited = any(each.all["published"] for each in benchmarks)
    names = list(_PUBLISHED)[:2] if cited else []
    heads += [_PUBLISHED[name] for name in names]
    rows = []
    for entry in summary(benchmarks):
        measure = entry["measure"]
        said = _difference(entry, measure) if entry["difference"] else MISSING
        rows.append([
            _plain(f"{entry['benchmark']}, {entry['split']}"), TITLES[measure],
            _plain(entry["model"]), _count(entry["n"], entry["small"]),
            _value(entry["accuracy"], measure), said, probability(entry["p"]),
            *(_cited(entry, name) for name in names),
        ])  # fmt: skip
    return tables.markdown(heads, rows, texts=range(3))


def _section(benchmark: Benchmark) -> Iterator[str]:
    rows = [*benchmark.groups.get("task_type", ()), benchmark.all]
    cited = list(_PUBLISHED) if benchmark.all["published"] else []
    yield from _table(benchmark, "task type", rows, cited)
    yield ""
    yield from _measures(benchmark)
    for name, title in _GROUPS.items():
        if name in benchmark.groups:
            yield ""
            yield from _table(benchmark, title, benchmark.groups[name], [])
    yield ""
    yield from (f"- {_plain(note)}" for note in notes(benchmark))


def _table(
    benchmark: Benchmark, title: str, rows: Sequence[Row], cited: Sequence[str]
) -> list[str]:
    measure, others = benchmark.headline.measure, benchmark.others
    heads = [title, "n", *map(_plain, benchmark.scored)]
    heads += [f"{_plain(model)} − {_plain(benchmark.baseline or '')}" for model in others]
    heads += [_PUBLISHED[name] for name in cited]
    lines = []
    for row in rows:
        cells = [_plain(row["name"]), _count(row["n"], row["small"])]
        cells += [_value(row["models"][model][measure], measure) for model in benchmark.scored]
        cells += [_difference(row["differences"][model][measure], measure) for model in others]
        lines.append([*cells, *(_cited(row, name) for name in cited)])
    return tables.markdown(heads, lines)


def _measures(benchmark: Benchmark) -> list[str]:
    heads = ["measure, all items", *map(_plain, benchmark.scored)]
    for model in map(_plain, benchmark.others):
        heads += [f"{model} − {_plain(benchmark.baseline or '')}", f"p ({model})"]
    rows = []
    for measure in benchmark.measures:
        cells = [TITLES[measure]]
        for found in benchmark.all["models"].values():
            cells.append(_value(found[measure], measure) if measure in found else MISSING)
        for said in benchmark.all["differences"].values():
            found = said.get(measure)
            test = found["mcnemar"] if found else None
            cells.append(_difference(found, measure) if found else MISSING)
            cells.append(probability(test["p"] if test else None))
        rows.append(cells)
    return tables.markdown(heads, rows)


def _count(n: int, small: bool) -> str:
    return f"{n:,}" + (r"\*" if small else "")


def _value(cell: dict[str, Any], measure: str) -> str:
    if cell["mean"] is None:
        return MISSING
    return "{} [{}, {}]".format(*(number(cell[key], measure) for key in ("mean", "low", "high")))


def _difference(found: dict[str, Any], measure: str) -> str:
    cell = found["difference"]
    if cell["mean"] is None:
        return MISSING
    mean, low, high = (
        number(cell[key], measure, "+").replace("-", MINUS) for key in ("mean", "low", "high")
    )
    sign = "▲" if cell["mean"] > 0 else "▼"
    return (
        f"**{sign} {mean}** [{low}, {high}]" if found["excludes_0"] else f"{mean} [{low}, {high}]"
    )


def _cited(row: dict[str, Any], name: str) -> str:
    about = row["published"]
    value = about[name] if about else None
    return number(value, "", "+" if name == "difference" else "").replace("-", MINUS)


def _plain(text: str) -> str:
    """Text with the special characters of Markdown and HTML escaped."""
    return " ".join(text.split()).translate(_MARKS)
