"""`audit.html`: one file that opens offline, in light and in dark, with no script in it."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np

from orl_jax.oracles.audit import pictures
from orl_jax.oracles.audit.scores import MEASURES
from orl_jax.oracles.audit.summary import Finding
from orl_jax.oracles.audit.table import cost_line
from orl_jax.report import html
from orl_jax.report.curves import Figure
from orl_jax.report.wording import MINUS
from orl_jax.run.files import write_atomic

WORST = 12  # disagreements shown
_TEMPLATE = "audit.html.jinja"
_MOST = 800  # characters of an answer or question that are shown


def write_page(path: pathlib.Path, results: Mapping[str, Any], found: Sequence[Finding]) -> None:
    """Writes the page.

    Args:
      path: for example WORKDIR/audit.html.
      results: what `audit.json` holds.
      found: the cases, for the distributions and the worst disagreements.
    """
    content = {
        "results": results,
        "measures": MEASURES,
        "limits": {check["key"].split("_", 1)[1]: check for check in results["checks"]},
        "failed": [check for check in results["checks"] if check["state"] == "fail"],
        "unmeasured": [check for check in results["checks"] if check["state"] == "not measured"],
        "figures": figures(results, found),
        "worst": worst(found),
        "cost": cost_line(results["costs"]),
    }
    page = _environment().get_template(_TEMPLATE).render(content)
    write_atomic(path, page)


def figures(results: Mapping[str, Any], found: Sequence[Finding]) -> list[Figure]:
    """Every picture for which the audit has numbers."""
    limits = {check["key"]: check["limit"] for check in results["checks"]}
    drawn = [
        Figure(
            "Agreement with the truth",
            pictures.distribution([f.scores["tau"] for f in found], limits=(-1.05, 1.05),
                                  x_label="tau-b of a group", name="Distribution of tau"),
            "1 is the truth's order, 0 is none, -1 the reverse.",
        ),
        Figure("Agreement by task type", _by_type(results, "tau", limits["min_tau"]),
               "tau-b with 95 % intervals; groups in brackets, the limit dashed."),
        Figure(
            "Agreement with itself",
            pictures.distribution([f.scores["self_tau"] for f in found], limits=(-1.05, 1.05),
                                  x_label="tau-b between two asks", name="Agreement with itself"),
            "The same group, its answers shown in another order.",
        ),
        Figure("Rank by slot", pictures.slots(_slots(results), name="Mean rank by slot"),
               "A fair Oracle is level on the dashed line."),
        Figure("Rank against length",
               pictures.rank_against_length(results["length"], name="Mean rank by length"),
               "Where the Oracle is steeper than the truth, it favours length itself."),
        Figure("Time of an ask", _latency(found), "Of a whole group."),
        Figure("Why there was no ranking",
               pictures.counts(results["invalid"]["reasons"], name="Invalid asks by reason"),
               f"Of {results['invalid']['asks']:,} asks."),
    ]  # fmt: skip
    return [figure for figure in drawn if figure.svg is not None]


def worst(found: Sequence[Finding], count: int = WORST) -> list[dict[str, Any]]:
    """The cases with the lowest tau: question, answers, both ranks; for the template."""
    known = [f for f in found if not math.isnan(f.scores["tau"])]
    return [_shown(f) for f in sorted(known, key=lambda f: f.scores["tau"])[:count]]


def _shown(found: Finding) -> dict[str, Any]:
    request = found.case.request
    orders = [reply.ranks for reply in found.listwise if reply.ranking.valid]
    said = np.mean(orders, axis=0).tolist()
    answers = [
        {"text": _cut(text), "truncated": cut, "truth": true, "said": rank}
        for text, cut, true, rank in zip(
            request.responses, request.truncated, found.case.truth.ranks, said, strict=True
        )
    ]
    return {
        "name": request.prompt_id,
        "task_type": found.task_type,
        "question": _cut(request.question),
        "reference": _cut(request.reference or ""),
        "tau": found.scores["tau"],
        "answers": sorted(answers, key=lambda answer: answer["truth"]),
    }


def _cut(text: str) -> str:
    return text if len(text) <= _MOST else text[:_MOST].rstrip() + " …"


def _by_type(results: Mapping[str, Any], measure: str, limit: float) -> markupsafe.Markup | None:
    measures = results["measures"]
    rows = [(name, found[measure]) for name, found in measures["task_types"].items()]
    rows.append(("all", measures["all"][measure]))
    return pictures.by_type(rows, limit=limit, name=f"{measure} by task type")


def _slots(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], str]]:
    judge = results["judge_position"]
    series = [
        ("the Oracle", results["position"]["all"], "rl"),
        ("its judge by itself", judge, "control"),
    ]
    return [row for row in series if row[1] is not None]


def _latency(found: Sequence[Finding]) -> markupsafe.Markup | None:
    seconds = [reply.row["seconds"] for f in found for reply in f.listwise]
    slow = max(seconds, default=0.0) < 1
    label, factor = ("milliseconds", 1e3) if slow else ("seconds", 1.0)
    return pictures.distribution(
        [s * factor for s in seconds],
        limits=None,
        x_label=label,
        what="asks",
        name="Time of an ask",
    )


def _environment() -> jinja2.Environment:
    env = html.templates(pathlib.Path(__file__).parent)
    env.filters |= {"two": _two}
    return env


def _two(value: float) -> str:
    """Two decimals, as in a column: `_two(-0.5)` is "−0.50"."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)
