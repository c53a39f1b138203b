"""Oracles by name from a config section."""

import ml_collections
import pytest

from orl_jax.errors import UserError
from orl_jax.oracles import NoisyOracle, ReferenceOracle, make_oracle

SECTION = {
    "name": "noisy",
    "policy": "skip",
    "inner": "reference",
    "swap_probability": 0.2,
    "invalid_probability": 0.1,
    "seed": 7,
}


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
    "change, message",
    [
        ({"name": "gpt"}, "oracle.name is 'gpt'; choose one of reference, noisy"),
        ({"name": None}, "oracle.name is None"),
        ({"inner": "gpt"}, "'gpt'; choose one of reference"),
        ({"inner": "noisy"}, "oracle.inner is 'noisy'"),
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
