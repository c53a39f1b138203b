"""Oracles put the responses of a group in order. Pure Python and numpy: an Oracle needs no jax.

    from orl_jax.oracles import ask, make_oracle, RankRequest

    oracle = make_oracle({"name": "reference"})
    request = RankRequest("p0", "What colour?", ("blue", "It is red."), reference="It is red.")
    ask(oracle, [request])[0].ranks  # (1.0, 0.0)

An Oracle of your own is any object with the method `rank` of `Oracle`; register it in `ORACLES` to
name it in a config.
"""

from collections.abc import Callable, Mapping
from typing import Any

from orl_jax.errors import UserError
from orl_jax.oracles.noisy import NoisyOracle
from orl_jax.oracles.protocol import Oracle, OracleError, RankRequest, ask
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.reference import ReferenceOracle

__all__ = [
    "KEYS",
    "ORACLES",
    "NoisyOracle",
    "Oracle",
    "OracleError",
    "RankRequest",
    "Ranking",
    "ReferenceOracle",
    "ask",
    "make_oracle",
]


def make_oracle(config: Mapping[str, Any]) -> Oracle:
    """The Oracle that a flat config section describes.

    A section may hold the keys of every Oracle at once, as a locked config does. The keys:

      name: "reference" | "noisy"
      policy: of `ask`; not read here
      inner, swap_probability, invalid_probability, seed: of "noisy"; `inner` is a name

    Raises:
      UserError: an unknown name, key or value.

    Example: `make_oracle({"name": "noisy", "swap_probability": 0.2, "seed": 1})`.
    """
    config = dict(config)
    unknown = sorted(set(config) - set(KEYS))
    if unknown:
        raise UserError(f"oracle.{unknown[0]} is not a key; choose from {', '.join(KEYS)}")
    name = config.get("name")
    if name not in ORACLES:
        raise UserError(f"oracle.name is {name!r}; choose one of {', '.join(ORACLES)}")
    try:
        return ORACLES[name](config)
    except (TypeError, ValueError) as error:
        raise UserError(f"oracle.{error}") from error


def _noisy(config: dict[str, Any]) -> NoisyOracle:
    inner = config.get("inner", "reference")
    if inner == "noisy":
        raise UserError("oracle.inner is 'noisy'; choose an Oracle that is not itself a wrapper")
    options = ("swap_probability", "invalid_probability", "seed")
    return NoisyOracle(
        make_oracle({**config, "name": inner}), **{k: config[k] for k in options if k in config}
    )


ORACLES: dict[str, Callable[[dict[str, Any]], Oracle]] = {
    "reference": lambda config: ReferenceOracle(),
    "noisy": _noisy,
}
KEYS = ("name", "policy", "inner", "swap_probability", "invalid_probability", "seed")
