"""One row per benchmark and model: the first table of the page and the terminal."""

from collections.abc import Sequence
from typing import Any

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.scoring.cells import is_score
from orl_jax.report.statistics import SMALL
from orl_jax.report.tables import plain
from orl_jax.report.wording import MISSING

_PUBLISHED = ("oracle_rlaif", "vlm_rlaif")
_HEADS = ["benchmark", "split", "measure", "model", "n", "accuracy", "difference", "p", "published"]


def summary(benchmarks: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """The headline of every model on every benchmark.

    Returns:
      {"key", "benchmark", "split", "measure", "model", "n", "small", "accuracy": interval,
      "baseline", "difference": interval, "excludes_0", "p", "published"}; the difference is None
      for the baseline itself, and where the baseline was not evaluated.

    Example: `summary(benchmarks)[0]["accuracy"]["mean"]`.
    """
    return [_entry(each, model) for each in benchmarks for model in each.scored]


def summary_table(benchmarks: Sequence[Benchmark]) -> str:
    """The same as plain text, for the terminal; accuracies in per cent, differences in points.

    Example: `print(summary_table(benchmarks))`.
    """
    entries = summary(benchmarks)
    lines = [_HEADS, *(_line(entry) for entry in entries)]
    cited = any(entry["published"] for entry in entries)
    shown = len(_HEADS) if cited else len(_HEADS) - 1
    text = plain([line[:shown] for line in lines], texts=range(shown))
    if any(entry["small"] for entry in entries):
        text.append(f"* fewer than {SMALL} answers count: a hint at best")
    if cited:
        text.append("published: Oracle-RLAIF / VLM-RLAIF, arXiv 2510.02561; for context only")
    return "\n".join(text)


def probability(p: float | None) -> str:
    """A p-value with three decimals.

    Example: `probability(0.0304) == "0.030"`, `probability(1e-9) == "< 0.001"`.
    """
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, measure: str, sign: str = "") -> str:
    """A share in per cent, or a score from 0 to 5, without a unit.

    Example: `number(0.5412, "official") == "54.1"`, `number(3.25, "judge_score") == "3.25"`.
    """
    if value is None:
        return MISSING
    text = f"{value:{sign}.2f}" if is_score(measure) else f"{100 * value:{sign}.1f}"
    return text.lstrip("+-") if not float(text) else text


def _entry(benchmark: Benchmark, model: str) -> dict[str, Any]:
    measure = benchmark.headline.measure
    cell = benchmark.all["models"][model][measure]
    against = benchmark.all["differences"].get(model, {}).get(measure, {})
    return {
        "key": benchmark.key,
        "benchmark": benchmark.title,
        "split": benchmark.split,
        "measure": measure,
        "model": model,
        "n": cell["n"],
        "small": cell["n"] < SMALL,
        "accuracy": cell,
        "baseline": benchmark.baseline,
        "difference": against.get("difference"),
        "excludes_0": against.get("excludes_0", False),
        "p": (against.get("mcnemar") or {}).get("p"),
        "published": benchmark.all["published"],
    }


def _line(entry: dict[str, Any]) -> list[str]:
    measure, about = entry["measure"], entry["published"]
    return [
        entry["benchmark"], entry["split"], measure, entry["model"],
        f"{entry['n']}{'*' if entry['small'] else ''}", _text(entry["accuracy"], measure),
        _text(entry["difference"], measure, "+") if entry["difference"] else MISSING,
        probability(entry["p"]),
        " / ".join(number(about[name], measure) for name in _PUBLISHED) if about else MISSING,
    ]  # fmt: skip


def _text(cell: dict[str, Any], measure: str, sign: str = "") -> str:
    mean, low, high = (number(cell[key], measure, sign) for key in ("mean", "low", "high"))
    return mean if cell["mean"] is None else f"{mean} [{low}, {high}]"
