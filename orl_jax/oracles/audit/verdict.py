"""The verdict: which measures are beyond their limits."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from orl_jax.oracles.audit.settings import OFF

# A bias only fails where it is also beyond chance: by the test of slots, the interval of lengths.
P_LEVEL = 0.05
_BIASES = ("length_bias",)
_ROUNDING = 1e-9  # of means: a tau of 0.9999999999999998 is 1


@dataclasses.dataclass(frozen=True)
class Check:
    """One limit and what was measured.

    Attributes:
      name: as the verdict says it.
      key: of the section `audit`.
      limit: its value.
      value: None where it was not measured.
      detail: the interval or p-value, in brackets.
      state: "pass", "fail", "off" or "not measured".
    """

    name: str
    key: str
    limit: float
    value: float | None
    detail: str
    state: str

    def __str__(self) -> str:
        beyond = "below" if self.key.startswith("min_") else "above"
        said = f"{self.name} {self.value:.2f} {self.detail}"
        return f"{said} is {beyond} audit.{self.key} = {self.limit}"


# Name, measure and key, in the order of the verdict.
LIMITS = (
    ("tau", "tau", "min_tau"),
    ("pairs ordered right", "pair_accuracy", "min_pair_accuracy"),
    ("top-1", "top1", "min_top1"),
    ("tau with itself", "self_tau", "min_self_tau"),
    ("length bias", "length_bias", "max_length_bias"),
    ("invalid", "invalid", "max_invalid"),
    ("transitive", "transitive", "min_transitive"),
)


def checks(results: Mapping[str, Any], limits: Mapping[str, float]) -> list[Check]:
    """All limits, in the order of the verdict.

    Args:
      results: see `summary.summarise`.
      limits: of `AuditSettings`.
    """
    measures = results["measures"]["all"]
    found = [
        _check(name, measures[measure], limits[key], key, measure in _BIASES)
        for name, measure, key in LIMITS
    ]
    return [*found, _position(results["position"]["all"], limits["max_position_bias"])]


def verdict(made: list[Check]) -> str:
    """One line, "verdict: PASS …" or "verdict: FAIL …", with what was not measured.

    Example: "verdict: FAIL — tau 0.31 [0.22, 0.40] is below audit.min_tau = 0.5".
    """
    failed = [str(check) for check in made if check.state == "fail"]
    missing = [check.name for check in made if check.state == "not measured"]
    held = [f"{c.name} {c.value:.2f} {c.detail}" for c in made if c.state == "pass"]
    line = "FAIL — " + "; ".join(failed) if failed else "PASS — " + ", ".join(held[:4])
    return f"verdict: {line}" + (f" (not measured: {', '.join(missing)})" if missing else "")


def _check(name: str, found: Mapping[str, Any], limit: float, key: str, is_bias: bool) -> Check:
    value = found["mean"]
    if limit == OFF[key] or value is None:
        state = "off" if limit == OFF[key] else "not measured"
        return Check(name, key, limit, value, "", state)
    least = key.startswith("min_")
    beyond = value < limit - _ROUNDING if least else abs(value) > limit + _ROUNDING
    if is_bias and found["low"] <= 0 <= found["high"]:
        beyond = False
    detail = f"[{found['low']:.2f}, {found['high']:.2f}]"
    return Check(name, key, limit, value, detail, "fail" if beyond else "pass")


def _position(found: Mapping[str, Any] | None, limit: float) -> Check:
    name, key = "position bias", "max_position_bias"
    if limit == OFF[key] or found is None:
        return Check(name, key, limit, None, "", "off" if limit == OFF[key] else "not measured")
    beyond = found["effect"] > limit and found["p"] < P_LEVEL
    detail = f"(p = {found['p']:.2g})"
    return Check(name, key, limit, found["effect"], detail, "fail" if beyond else "pass")
