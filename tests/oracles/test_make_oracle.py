"""Oracles by name from a config section."""

import dataclasses

import ml_collections
import pytest

from orl_jax.oracles import (
    CoarseOracle,
    DistortedOracle,
    NoisyOracle,
    OracleSettings,
    ReferenceOracle,
    ReversedOracle,
    TopOracle,
    make_oracle,
)
from orl_jax.run.errors import UserError

SECTION = {
    "overlap": False,
    "lag": 0,
    "tie_margin": 0.0,
    "delay_seconds": 1.0,
    "name": "noisy",
    "policy": "skip",
    "inner": "reference",
    "swap_probability": 0.2,
    "invalid_probability": 0.1,
    "seed": 7,
    "top_k": 3,
    "levels": 4,
    "distortion": 0.5,
    "checkpoint": "",
    "scales": (),
    "served": {},
    "recorded": "",
    "embedding": {},
    "halt_above": 1.0,
    "pause_seconds": 0.0,
    "members": (),
    "quorum": 1,
}


class Device:
    """Stands in for an Oracle outside the package."""

    def __init__(self, settings):
        self.settings = settings


def test_by_name():
    assert isinstance(make_oracle({"name": "reference"}), ReferenceOracle)
    noisy = make_oracle({"name": "noisy", "swap_probability": 0.2})
    assert isinstance(noisy.inner, ReferenceOracle)
    assert (noisy.swap_probability, noisy.invalid_probability, noisy.seed) == (0.2, 0.0, 0)


def test_a_section_holds_the_keys_of_all_oracles():
    assert isinstance(make_oracle(SECTION | {"name": "reference"}), ReferenceOracle)
    noisy = make_oracle(ml_collections.ConfigDict(SECTION))
    assert isinstance(noisy, NoisyOracle)
    assert (noisy.swap_probability, noisy.invalid_probability, noisy.seed) == (0.2, 0.1, 7)


@pytest.mark.parametrize(
    "name, oracle, default",
    [
        ("reversed", lambda inner: ReversedOracle(inner), lambda inner: ReversedOracle(inner)),
        ("top", lambda inner: TopOracle(inner, k=3, seed=7), lambda inner: TopOracle(inner, 1, 0)),
        (
            "coarse",
            lambda inner: CoarseOracle(inner, levels=4),
            lambda inner: CoarseOracle(inner, 2),
        ),
        (
            "distorted",
            lambda inner: DistortedOracle(inner, strength=0.5, seed=7),
            lambda inner: DistortedOracle(inner, 1.0, 0),
        ),
    ],
)
def test_wrappers_read_their_keys(name, oracle, default):
    made = make_oracle(SECTION | {"name": name})
    assert made == oracle(made.inner) and isinstance(made.inner, ReferenceOracle)
    made = make_oracle({"name": name})
    assert made == default(made.inner) and isinstance(made.inner, ReferenceOracle)


def test_every_key_is_documented():
    keys = [field.name for field in dataclasses.fields(OracleSettings)]
    assert set(SECTION) == set(keys)
    assert all(key in OracleSettings.__doc__ for key in keys)


def test_settings_in_place_of_a_section():
    noisy = make_oracle(OracleSettings("noisy", swap_probability=0.2, seed=7))
    assert noisy == NoisyOracle(noisy.inner, swap_probability=0.2, seed=7)


def test_oracles_from_outside_the_package():
    extra = {"reward": Device}
    section = SECTION | {"name": "reward", "checkpoint": "runs/reward"}
    assert make_oracle(section, extra).settings == OracleSettings.of(section)
    wrapped = make_oracle(section | {"name": "distorted", "inner": "reward"}, extra)
    assert isinstance(wrapped, DistortedOracle)
    assert wrapped.inner.settings == OracleSettings.of(section | {"inner": "reward"})
    with pytest.raises(
        UserError,
        match="'gpt'; choose one of reference, graded, facts, served, recorded, embedding, reward",
    ):
        make_oracle(SECTION | {"name": "gpt"}, extra)
    with pytest.raises(ValueError, match="extra redefines the Oracle 'noisy'"):
        make_oracle(SECTION, {"noisy": Device})


@pytest.mark.parametrize("change", [{"name": "reward"}, {"name": "top", "inner": "reward"}])
def test_an_error_from_outside_passes_unchanged(change):
    def fail(config):
        raise ValueError("shapes differ")

    with pytest.raises(ValueError, match="^shapes differ$"):
        make_oracle(SECTION | change, {"reward": fail})


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"name": "gpt"},
            "'gpt'; choose one of reference, graded, facts, served, recorded, embedding, ens",
        ),
        ({"name": None}, "oracle.name is None"),
        ({"inner": "gpt"}, "'gpt'; choose one of reference"),
        ({"inner": "noisy"}, "oracle.inner is 'noisy'"),
        ({"name": "top", "inner": "coarse"}, "oracle.inner is 'coarse'; .* not itself a wrapper"),
        ({"name": "top", "top_k": 0}, "oracle.top_k is 0; it must be an integer of at least 1"),
        ({"name": "coarse", "levels": 1}, "oracle.levels is 1; it must be an integer"),
        ({"name": "distorted", "distortion": -1}, r"oracle.distortion is -1; it must lie in \[0"),
        ({"swap_probabilty": 0.1}, "oracle.swap_probabilty is not a key; choose from name"),
        ({"swap_probability": 2}, r"oracle.swap_probability is 2; it must lie in \[0, 1\]"),
        ({"swap_probability": "much"}, "oracle.swap_probability is 'much'"),
    ],
)
def test_a_bad_section_is_the_users_error(change, message):
    with pytest.raises(UserError, match=message):
        make_oracle(SECTION | change)
    with pytest.raises(UserError, match=r"oracle.name is None"):
        make_oracle({})
