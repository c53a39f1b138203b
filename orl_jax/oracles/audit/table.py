"""The numbers of an audit as Markdown tables: `audit.md`, and what the terminal shows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orl_jax.oracles.audit.scores import MEASURES
from orl_jax.oracles.audit.verdict import Check
from orl_jax.report.tables import markdown

MISSING = "-"
# Columns of the table of task types: measure -> head.
COLUMNS = {
    "tau": "tau",
    "pair_accuracy": "pairs right",
    "top1": "top-1",
    "top1_chance": "chance",
    "self_tau": "with itself",
    "length_bias": "length",
    "tied_pairs": "tied",
    "invalid": "invalid",
}


def audit_table(results: Mapping[str, Any], checks: Sequence[Check]) -> str:
    """The tables overall and by task type, and what there is to say about them.

    Args:
      results: see `summary.summarise`.

    Example: `print(audit_table(results, checks))`.
    """
    types = results["measures"]["task_types"]
    head, *rows = _overall(results, checks)
    lines = [*markdown(head, rows), ""]
    if len(types) > 1:
        head, *rows = _types(results)
        lines += [*markdown(head, rows), ""]
    return "\n".join([*lines, *_notes(results)])


def bracketed(found: Mapping[str, Any]) -> str:
    """An interval: `bracketed({"mean": 0.31, "low": 0.22, "high": 0.4})` is "0.31 [0.22, 0.40]"."""
    if found["mean"] is None:
        return MISSING
    return f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _overall(results: Mapping[str, Any], checks: Sequence[Check]) -> Iterator[list[str]]:
    limits = {check.key: check for check in checks}
    yield ["measure", "mean [95 %]", "groups", "limit"]
    for name, title in MEASURES.items():
        found = results["measures"]["all"][name]
        limit = next((_limit(limits[k]) for k in (f"min_{name}", f"max_{name}") if k in limits), "")
        if found["n"]:
            yield [title, bracketed(found), str(found["n"]), limit]
    position = results["position"]["all"]
    if position:
        yield ["position bias", _effect(position), f"{position['n']} asks",
               _limit(limits["max_position_bias"])]  # fmt: skip
    if results["judge_position"]:
        judge = results["judge_position"]
        yield ["position bias of the judge itself", _effect(judge), f"{judge['n']} asks", ""]


def _types(results: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["task type", "groups", *COLUMNS.values(), "position"]
    for name, found in results["measures"]["task_types"].items():
        position = results["position"]["task_types"][name]
        cells = [_short(found[measure]) for measure in COLUMNS]
        effect = f"{position['effect']:.2f}" if position else MISSING
        yield [name, str(found["groups"]), *cells, effect]


def _short(found: Mapping[str, Any]) -> str:
    return MISSING if found["mean"] is None else f"{found['mean']:.2f}"


def _limit(check: Check) -> str:
    sign = ">=" if check.key.startswith("min_") else "<="
    return "off" if check.state == "off" else f"{sign} {check.limit} {check.state}"


def _effect(position: Mapping[str, Any]) -> str:
    return f"{position['effect']:.2f} (p = {position['p']:.2g})"


def _notes(results: Mapping[str, Any]) -> Iterator[str]:
    groups, costs, left = results["groups"], results["costs"], results["tau_left_out"]
    yield (
        f"{groups['asked']} groups asked about, of {groups['found']} found; "
        f"{groups['nothing_to_rank']} have nothing to rank, or are duplicates."
    )
    if left:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in left.items())
        yield f"Without a tau: {reasons}."
    invalid = results["invalid"]
    if invalid["reasons"]:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in invalid["reasons"].items())
        yield f"Without a ranking, of {invalid['asks']} asks: {reasons}; first: {invalid['first']}"
    yield cost_line(costs)


def cost_line(costs: Mapping[str, Any]) -> str:
    """What it took, in one line."""
    seconds = costs["seconds"]
    text = f"{costs['asks']} asks in {costs['wall_seconds']:.1f} s"
    if seconds["p50"] is not None:
        unit, factor = ("s", 1) if seconds["p50"] >= 0.1 else ("ms", 1000)
        p50, p90, p99 = (f"{seconds[name] * factor:.3g}" for name in ("p50", "p90", "p99"))
        text += f"; a group took {p50} {unit} (p90 {p90}, p99 {p99})"
    for name in ("calls", "tokens"):
        if costs.get(name):
            text += f"; {costs[name]:,} {name}"
    return text + (f"; price {costs['price']:.2f}." if costs["price"] is not None else ".")
