"""Pairs asked one by one: cycles, and agreement with the list."""

import math

import pytest
from audit_cases import audited, mean, reply, write_groups

from orl_jax.oracles.audit.transitivity import listwise_agreement, preferences, transitive_share


def said(*pairs):
    """Preferences of replies, each (i, j, ranks)."""
    return preferences([reply((i, j), ranks) for i, j, ranks in pairs])


@pytest.mark.parametrize(
    ("pairs", "share"),
    [
        (((0, 1, (0, 1)), (1, 2, (0, 1)), (2, 0, (1, 0))), 1.0),  # 0 > 1 > 2, 0 > 2
        (((0, 1, (0, 1)), (1, 2, (0, 1)), (2, 0, (0, 1))), 0.0),  # 0 > 1 > 2 > 0
        (((0, 1, (0, 1)), (1, 2, (0, 1)), (2, 0, (0.5, 0.5))), 0.0),  # 0 > 1 > 2 = 0
        (((0, 1, (0, 1)), (1, 2, (0.5, 0.5)), (2, 0, (0.5, 0.5))), 1.0),  # near equals
        (((0, 1, (0, 1)), (1, 2, (0, 1)), (2, 0, ())), math.nan),  # one ask failed: no triple
    ],
)
def test_cycles(pairs, share):
    assert transitive_share(said(*pairs)) == pytest.approx(share, nan_ok=True)


def test_one_cycle_in_four():
    # 3 is worse than all; 0, 1, 2 are a cycle: of the triples 012, 013, 023, 123 one.
    cycle = ((0, 1, (0, 1)), (1, 2, (0, 1)), (2, 0, (0, 1)))
    last = ((3, 0, (1, 0)), (3, 1, (1, 0)), (3, 2, (1, 0)))
    assert transitive_share(said(*cycle, *last)) == 3 / 4


def test_pairs_against_the_list():
    preferred = said((0, 1, (0, 1)), (2, 1, (0, 1)), (0, 2, (0.5, 0.5)))
    # The list says 0 > 1, 1 > 2, 0 > 2: right, wrong, half.
    assert listwise_agreement(preferred, (0, 1, 2)) == pytest.approx(1.5 / 3)
    assert math.isnan(listwise_agreement(preferred, (1, 1, 1)))


def rock_paper_scissors(request):
    """Three answers of 1, 2 and 3 words; of two, each beats the one that has one word less."""
    lengths = [len(text.split()) for text in request.responses]
    if len(lengths) > 2:
        return sorted(range(len(lengths)), key=lengths.__getitem__)
    return [0, 1] if (lengths[0] - lengths[1]) % 3 == 1 else [1, 0]


def test_a_judge_in_circles_has_no_transitivity(tmp_path, monkeypatch):
    groups = write_groups(tmp_path / "groups.jsonl", 12, size=3)
    results = audited(rock_paper_scissors, groups, tmp_path / "run", monkeypatch)
    assert mean(results, "transitive") == 0
    assert results["measures"]["all"]["transitive"]["n"] == 12
    assert "transitive 0.00 [0.00, 0.24] is below audit.min_transitive = 0.9" in results["verdict"]


def test_no_pairs_are_asked_where_none_are_wanted(tmp_path, monkeypatch):
    groups = write_groups(tmp_path / "groups.jsonl", 6)
    results = audited(rock_paper_scissors, groups, tmp_path / "run", monkeypatch, pairs=0)
    assert results["measures"]["all"]["transitive"]["n"] == 0
    assert "not measured: transitive" in results["verdict"]
