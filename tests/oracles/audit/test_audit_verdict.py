"""Limits and the line that says what is beyond them."""

import pytest
from audit_cases import config

from orl_jax.oracles.audit.costs import costs
from orl_jax.oracles.audit.scores import MEASURES
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.audit.table import bracketed, cost_line
from orl_jax.oracles.audit.verdict import checks, verdict


def results(effect=0.05, p=0.5, **means):
    good = dict.fromkeys(MEASURES, 0.95) | {"length_bias": 0.0, "invalid": 0.0}
    found = {
        name: {"mean": m, "low": m and m - 0.09, "high": m and m + 0.09, "n": 9}
        for name, m in (good | means).items()
    }
    position = {"effect": effect, "p": p}
    return {"measures": {"all": found}, "position": {"all": position}}


def line(found, **changes):
    settings = AuditSettings.of(config("x", **changes).audit.to_dict())
    return verdict(checks(found, settings.limits))


def test_all_is_well():
    assert line(results()) == (
        "verdict: PASS — tau 0.95 [0.86, 1.04], pairs ordered right 0.95 [0.86, 1.04], "
        "top-1 0.95 [0.86, 1.04], tau with itself 0.95 [0.86, 1.04]"
    )


def test_what_fails_is_said_with_its_limit():
    assert line(results(tau=0.31, effect=0.4, p=0.001)) == (
        "verdict: FAIL — tau 0.31 [0.22, 0.40] is below audit.min_tau = 0.5; "
        "position bias 0.40 (p = 0.001) is above audit.max_position_bias = 0.15"
    )


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"length_bias": -0.3}, True),  # favouring short answers is also a bias
        ({"length_bias": 0.2}, False),
        ({"length_bias": 0.3}, True),
        ({"invalid": 0.06}, True),
        ({"transitive": 0.8}, True),
        ({"self_tau": 0.5}, True),
        ({"effect": 0.4, "p": 0.2}, False),  # may be chance
        ({"tau": 0.5 - 1e-15}, False),  # the limit itself is kept, but for rounding
    ],
)
def test_each_limit(changes, fails):
    assert line(results(**changes)).startswith("verdict: FAIL" if fails else "verdict: PASS")


def test_a_bias_of_few_groups_may_be_chance():
    found = results(length_bias=0.4)
    found["measures"]["all"]["length_bias"] |= {"low": -0.1, "high": 0.9}
    assert "PASS" in line(found)


def test_limits_can_be_switched_off():
    off = {"min_tau": -1.0, "max_position_bias": 1.0, "max_length_bias": 2.0}
    assert "PASS" in line(results(tau=-1.0, effect=1.0, p=0.0, length_bias=-2.0), **off)


def test_what_was_not_measured_is_said():
    text = line(results(transitive=None))
    assert "PASS" in text and text.endswith("(not measured: transitive)")
    assert "not measured" not in line(results(transitive=None), min_transitive=0.0)


def row(seconds, part="listwise", **used):
    return {"seconds": seconds, "part": part, "used": {"wall": 0.5} | used}


def test_costs():
    from orl_jax.oracles.audit.asking import Reply
    from orl_jax.oracles.ranking import Ranking

    made = [
        Reply((0, 1), Ranking((0, 1)), row(s, calls=1, tokens=150, prompt_tokens=100,
                                           completion_tokens=50))
        for s in range(101)
    ]  # fmt: skip
    pair = Reply((0, 1), Ranking((0, 1)), row(1000.0, "pairwise"))
    found = costs([*made, pair], {"input": 2.0, "output": 10.0})
    assert found["seconds"] == {"p50": 50, "p90": 90, "p99": 99}  # pairs are shorter asks
    assert found["wall_seconds"] == 51 and found["calls"] == 101 and found["tokens"] == 15150
    assert found["price"] == pytest.approx(101 * (100 * 2 + 50 * 10) / 1e6)
    assert costs(made, {"input": 0.0, "output": 0.0})["price"] is None
    assert cost_line(found) == (
        "102 asks in 51.0 s; a group took 50 s (p90 90, p99 99); 101 calls; 15,150 tokens; "
        "price 0.07."
    )


def test_brackets():
    assert bracketed({"mean": 0.31, "low": 0.22, "high": 0.4}) == "0.31 [0.22, 0.40]"
    assert bracketed({"mean": None, "low": None, "high": None}) == "-"
