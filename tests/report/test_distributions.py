import math

import numpy as np
import pytest

from orl_jax.report.distributions import alignment, distributions, periods_of
from orl_jax.report.figures import running_mean
from orl_jax.report.record import read_record


def _group(ranks, advantages, **more):
    return {"oracle_ranks": ranks, "advantages": advantages, "responses": ["a"] * len(ranks)} | more


def test_the_sign_tells_which_way_the_update_pushes() -> None:
    right = _group([0, 1, 2], [0.5, 0.0, -0.5])
    wrong = _group([0, 1, 2], [-0.2, 0.0, 0.2])
    assert alignment([right]) == pytest.approx(1)
    assert alignment([wrong]) == pytest.approx(-1)
    # Pooled by hand: cov = 1.0 - 0.4, variances 0.5 + 0.08 and 2 + 2.
    assert alignment([right, wrong]) == pytest.approx(0.6 / math.sqrt(0.58 * 4))


def test_it_compares_within_groups_only() -> None:
    shifted = _group([0, 1, 2], [10.5, 10.0, 9.5])
    assert alignment([shifted, _group([0, 1, 2], [0.5, 0.0, -0.5])]) == pytest.approx(1)


@pytest.mark.parametrize(
    "groups", [[], [_group([1, 1, 1], [0, 0, 0])], [_group([0, 1], [1, -1], valid=False)]]
)
def test_without_a_signal_it_is_not_defined(groups) -> None:
    assert alignment(groups) is None


def test_periods_are_the_ends_and_the_middle() -> None:
    rollouts = {step: [_group([0, 1], [1, -1])] for step in range(1, 31)}
    periods = periods_of(rollouts)
    assert [list(p.steps) for p in periods] == [[1, 2, 3], [14, 15, 16], [28, 29, 30]]
    assert periods[0].title == "early: steps 1\N{EN DASH}3"
    assert all(len(p.groups) == 3 for p in periods)


@pytest.mark.parametrize(
    ("steps", "names"),
    [(0, []), (1, ["early"]), (2, ["early", "late"]), (3, ["early", "middle", "late"])],
)
def test_short_runs_have_fewer_periods(steps, names) -> None:
    rollouts = {step: [_group([0, 1], [1, -1])] for step in range(steps)}
    assert [p.name for p in periods_of(rollouts)] == names


def test_figures_of_a_whole_run(example) -> None:
    found = distributions(read_record(example.workdir))
    titles = [figure.title for figure in found.figures]
    assert titles[:2] == ["Advantage", "Penalty"] and len(titles) == 4
    assert all(value > 0.5 for _, value in found.alignment)
    assert found.responses == 3 * 12 * 5
    assert "towards the Oracle" in found.figures[2].svg


def test_running_mean_by_hand() -> None:
    values = np.array([1.0, 3.0, np.nan, 7.0])
    assert running_mean(values, 1).tolist() == [2.0, 2.0, 5.0, 7.0]
    assert np.isnan(running_mean(np.array([np.nan]), 1)[0])
