"""Oracles put the responses of a group in order. Pure Python and numpy: an Oracle needs no jax.

    from orl_jax.oracles import ask, make_oracle, RankRequest

    oracle = make_oracle({"name": "reference"})
    request = RankRequest("p0", "What colour?", ("blue", "It is red."), reference="It is red.")
    ask(oracle, [request])[0].ranks  # (1.0, 0.0)

`reference` knows the accepted answers; `graded` tells near misses from far ones, too; `served` asks
a model behind an OpenAI-compatible address; `recorded` replays orders from a file, people's above
all; `embedding` compares with the reference by a sentence model; `ensemble` averages several
Oracles; "module:function" is a function of one's own. The others wrap one Oracle and change what it
says, to see what the training bears: `noisy` (errs at random), `reversed` (the adversary), `top`
and `coarse` (say less than they know), `distorted` (the same order, scores without a common scale),
`delayed` (the same, later).

An Oracle of your own is any object with the method `rank` of `Oracle`; give it to `make_oracle` in
`extra`, or register it in `ORACLES`, to name it in a config.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from orl_jax.oracles.ensemble import EnsembleOracle
from orl_jax.oracles.function import FunctionOracle, load_function
from orl_jax.oracles.graded import GradedOracle
from orl_jax.oracles.protocol import Oracle, OracleError, RankRequest, ask, ask_again
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.recorded import RecordedOracle
from orl_jax.oracles.reference import ReferenceOracle
from orl_jax.oracles.wrappers.degraded import CoarseOracle, ReversedOracle, TopOracle
from orl_jax.oracles.wrappers.delayed import DelayedOracle
from orl_jax.oracles.wrappers.distorted import DistortedOracle
from orl_jax.oracles.wrappers.noisy import NoisyOracle
from orl_jax.run.errors import UserError

__all__ = [
    "KEYS",
    "ORACLES",
    "WRAPPERS",
    "CoarseOracle",
    "DelayedOracle",
    "DistortedOracle",
    "EnsembleOracle",
    "FunctionOracle",
    "GradedOracle",
    "NoisyOracle",
    "Oracle",
    "OracleError",
    "RankRequest",
    "Ranking",
    "RecordedOracle",
    "ReferenceOracle",
    "ReversedOracle",
    "TopOracle",
    "ask",
    "ask_again",
    "make_oracle",
]

Maker = Callable[[dict[str, Any]], Oracle]  # from a config section
ORACLES: dict[str, Maker] = {
    "reference": lambda config: ReferenceOracle(),
    "graded": lambda config: _make(GradedOracle, {"scales": "scales"}, config),
    "served": lambda config: _served(config),
    "recorded": lambda config: RecordedOracle(config.get("recorded", "")),
    "embedding": lambda config: _embedding(config),
}
# Of every wrapper its class and, for each key that it reads, the argument that the key sets.
WRAPPERS: dict[str, tuple[Callable[..., Oracle], dict[str, str]]] = {
    "noisy": (
        NoisyOracle,
        {key: key for key in ("swap_probability", "invalid_probability", "seed")},
    ),
    "reversed": (ReversedOracle, {}),
    "top": (TopOracle, {"top_k": "k", "seed": "seed"}),
    "coarse": (CoarseOracle, {"levels": "levels"}),
    "delayed": (DelayedOracle, {"delay_seconds": "seconds"}),
    "distorted": (DistortedOracle, {"distortion": "strength", "seed": "seed"}),
}
KEYS = (
    *("name", "policy", "inner", "swap_probability", "invalid_probability", "seed"),
    *("top_k", "levels", "distortion", "checkpoint", "scales", "served", "recorded"),
    *("embedding", "delay_seconds", "tie_margin"),
    *("halt_above", "pause_seconds", "members", "quorum", "overlap", "lag"),
)


def make_oracle(config: Mapping[str, Any], extra: Mapping[str, Maker] | None = None) -> Oracle:
    """The Oracle that a flat config section describes.

    A section may hold the keys of every Oracle at once, as a locked config does; a key that is left
    out has its default. The keys:

      name: "reference", "graded", "served", "recorded", "embedding", a wrapper ("noisy",
        "reversed", "top", "coarse", "distorted", "delayed"), "ensemble", a function of one's own as
        "module:function", or a name of `extra`
      policy: of `ask`; not read here
      inner: of a wrapper, the name of the Oracle that it wraps, no wrapper itself ("reference")
      swap_probability, invalid_probability: of "noisy", in [0, 1] (0)
      seed: of "noisy", "top" and "distorted" (0)
      top_k: of "top", how many answers it names, at least 1 (1)
      levels: of "coarse", how many levels are left at most, at least 2 (2)
      delay_seconds: of "delayed", of every call, at least 0 (1)
      distortion: of "distorted", its strength in [0, 10] (1)
      scales: of "graded", tuples of values in their order (none)
      checkpoint, tie_margin: of a trained Oracle; not read here
      members: of "ensemble", two or more names of Oracles that are no wrappers
      quorum: of "ensemble", members that must have a ranking (1)
      served: of "served", a section of its own: see `orl_jax.oracles.served.oracle.Settings`
      recorded: of "recorded", a file of groups with orders
      embedding: of "embedding", a section of its own: see `orl_jax.oracles.embedding.Settings`
      halt_above, pause_seconds, overlap, lag: of the training loop; not read here

    Args:
      extra: Oracles that live outside this package (on a device, say a reward model), by name: each
        a function from the section, `name` being its own. A wrapper wraps them by `inner`. What
        they raise passes as it is.

    Raises:
      UserError: an unknown name, key or value. ValueError: `extra` redefines a name.

    Example: `make_oracle({"name": "noisy", "swap_probability": 0.2, "seed": 1})`.
    """
    config, makers = dict(config), {**ORACLES, **(extra or {})}
    _check_names(config, extra or {})
    name = config.get("name")
    if name in WRAPPERS:
        inner = config.get("inner", "reference")
        _check_choice("inner", inner, [*makers, "ensemble"])
        if inner == "ensemble":
            return _wrap(name, _ensemble(config, makers), config)
        return _wrap(name, makers[inner]({**config, "name": inner}), config)
    if name == "ensemble":
        return _ensemble(config, makers)
    if isinstance(name, str) and ":" in name:
        return FunctionOracle(load_function(name))
    _check_choice("name", name, [*makers, "ensemble", *WRAPPERS])
    return makers[name](config)


def _ensemble(config: dict[str, Any], makers: Mapping[str, Maker]) -> Oracle:
    names = tuple(config.get("members", ()))
    for name in names:
        _check_choice("members", name, makers)
    members = tuple(makers[name]({**config, "name": name}) for name in names)
    keys = {"quorum": "quorum"}
    return _make(functools.partial(EnsembleOracle, members), keys, config)


def _served(config: dict[str, Any]) -> Oracle:
    from orl_jax.oracles.served.oracle import make_served  # its HTTP client, only where needed

    return make_served(config)


def _embedding(config: dict[str, Any]) -> Oracle:
    from orl_jax.oracles.embedding import make_embedding

    return make_embedding(config)


def _wrap(name: str, inner: Oracle, config: dict[str, Any]) -> Oracle:
    wrapper, arguments = WRAPPERS[name]
    return _make(functools.partial(wrapper, inner), arguments, config)


def _make(kind: Callable[..., Oracle], arguments: dict[str, str], config: dict[str, Any]) -> Oracle:
    try:
        return kind(**{arguments[key]: config[key] for key in arguments if key in config})
    except (TypeError, ValueError) as error:  # its message begins with the argument
        argument, _, rest = str(error).partition(" ")
        key = {argument: key for key, argument in arguments.items()}.get(argument, argument)
        raise UserError(f"oracle.{key} {rest}") from error


def _check_names(config: dict[str, Any], extra: Mapping[str, Maker]) -> None:
    unknown = sorted(set(config) - set(KEYS))
    if unknown:
        raise UserError(f"oracle.{unknown[0]} is not a key; choose from {', '.join(KEYS)}")
    taken = sorted(set(extra) & {*ORACLES, *WRAPPERS})
    if taken:
        raise ValueError(f"extra redefines the Oracle {taken[0]!r}")


def _check_choice(key: str, value: Any, choices: Collection[str]) -> None:
    if value in WRAPPERS and key == "inner":
        raise UserError(f"oracle.inner is {value!r}; choose an Oracle that is not itself a wrapper")
    if value not in choices:
        own = ", or a function as module:function" if key == "name" else ""
        raise UserError(f"oracle.{key} is {value!r}; choose one of {', '.join(choices)}{own}")
