"""Oracles put the responses of a group in order. Pure Python and numpy: an Oracle needs no jax.

    from orl_jax.oracles import ask, make_oracle, RankRequest

    oracle = make_oracle({"name": "reference"})
    request = RankRequest("p0", "What colour?", ("blue", "It is red."), reference="It is red.")
    ask(oracle, [request])[0].ranks  # (1.0, 0.0)

`reference` knows the accepted answers; `graded` also tells near misses from far ones; `facts`
counts the facts of descriptions; `served` asks a model behind an OpenAI-compatible address;
`recorded` replays orders from a file, such as people's orders; `embedding` compares with the
reference by a sentence model; `ensemble` averages several Oracles; "module:function" is your own
function. The others wrap one Oracle and change its rankings, to test robustness: `noisy` (random
errors), `reversed` (an adversary), `top` and `coarse` (less detail), `distorted` (the same order,
scores without a common scale), `delayed` (the same rankings, later).

An Oracle of your own is any object with the method `rank` of `Oracle`; give it to `make_oracle` in
`extra`, or register it in `ORACLES`, to name it in a config.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from orl_jax.oracles.ensemble import EnsembleOracle
from orl_jax.oracles.facts import FactsOracle
from orl_jax.oracles.function import FunctionOracle, load_function
from orl_jax.oracles.graded import GradedOracle
from orl_jax.oracles.protocol import Oracle, OracleError, RankRequest, ask, ask_again
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.recorded import RecordedOracle
from orl_jax.oracles.reference import ReferenceOracle
from orl_jax.oracles.settings import OracleSettings
from orl_jax.oracles.wrappers.degraded import CoarseOracle, ReversedOracle, TopOracle
from orl_jax.oracles.wrappers.delayed import DelayedOracle
from orl_jax.oracles.wrappers.distorted import DistortedOracle
from orl_jax.oracles.wrappers.noisy import NoisyOracle
from orl_jax.run.errors import UserError

__all__ = [
    "ORACLES",
    "WRAPPERS",
    "CoarseOracle",
    "DelayedOracle",
    "DistortedOracle",
    "EnsembleOracle",
    "FactsOracle",
    "FunctionOracle",
    "GradedOracle",
    "NoisyOracle",
    "Oracle",
    "OracleError",
    "OracleSettings",
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

Maker = Callable[[OracleSettings], Oracle]
ORACLES: dict[str, Maker] = {
    "reference": lambda settings: ReferenceOracle(),
    "graded": lambda settings: GradedOracle(settings.scales),
    "facts": lambda settings: FactsOracle(),
    "served": lambda settings: _served(settings),
    "recorded": lambda settings: RecordedOracle(settings.recorded),
    "embedding": lambda settings: _embedding(settings),
}
WRAPPERS: dict[str, Callable[[Oracle, OracleSettings], Oracle]] = {
    "noisy": lambda inner, settings: NoisyOracle(
        inner, settings.swap_probability, settings.invalid_probability, settings.seed
    ),
    "reversed": lambda inner, settings: ReversedOracle(inner),
    "top": lambda inner, settings: TopOracle(inner, settings.top_k, settings.seed),
    "coarse": lambda inner, settings: CoarseOracle(inner, settings.levels),
    "delayed": lambda inner, settings: DelayedOracle(inner, settings.delay_seconds),
    "distorted": lambda inner, settings: DistortedOracle(inner, settings.distortion, settings.seed),
}
# Arguments of Oracles whose key in the config has another name.
_KEY_OF = {"k": "top_k", "seconds": "delay_seconds", "strength": "distortion"}


def make_oracle(
    section: Mapping[str, Any] | OracleSettings, extra: Mapping[str, Maker] | None = None
) -> Oracle:
    """The Oracle that a config section describes.

    Args:
      section: `OracleSettings`, or their keys: those of every Oracle at once, as a config has them,
        or a few; a key that is left out has its default.
      extra: Oracles that live outside this package (on a device, say a reward model), by name: each
        a function from the settings. A wrapper wraps them by `inner`, an ensemble by `members`;
        `name` is then their own. Their exceptions pass unchanged.

    Raises:
      UserError: an unknown name, key or value. ValueError: `extra` redefines a name.

    Example: `make_oracle({"name": "noisy", "swap_probability": 0.2, "seed": 1})`.
    """
    settings = section if isinstance(section, OracleSettings) else OracleSettings.of(section)
    makers = _makers(extra or {})
    name = settings.name
    if name in WRAPPERS:
        _check_choice("inner", settings.inner, [*makers, "ensemble"])
        inner = _one(dataclasses.replace(settings, name=settings.inner), makers)
        return _checked(WRAPPERS[name], inner, settings)
    if isinstance(name, str) and ":" in name:
        return FunctionOracle(load_function(name))
    _check_choice("name", name, [*makers, "ensemble", *WRAPPERS])
    return _one(settings, makers)


def _makers(extra: Mapping[str, Maker]) -> dict[str, Maker]:
    if taken := sorted(set(extra) & {*ORACLES, *WRAPPERS}):
        raise ValueError(f"extra redefines the Oracle {taken[0]!r}")
    own = {name: functools.partial(_checked, maker) for name, maker in ORACLES.items()}
    return {**own, **extra}


def _one(settings: OracleSettings, makers: Mapping[str, Maker]) -> Oracle:
    """The Oracle `settings.name`, which is not a wrapper."""
    if settings.name != "ensemble":
        return makers[settings.name](settings)
    for name in settings.members:
        _check_choice("members", name, makers)
    members = [makers[name](dataclasses.replace(settings, name=name)) for name in settings.members]
    return _checked(EnsembleOracle, tuple(members), settings.quorum)


def _served(settings: OracleSettings) -> Oracle:
    from orl_jax.oracles.served.oracle import make_served  # its HTTP client, only where needed

    return make_served({"served": settings.served, "seed": settings.seed})


def _embedding(settings: OracleSettings) -> Oracle:
    from orl_jax.oracles.embedding import make_embedding

    return make_embedding(settings.embedding)


def _checked(make: Callable[..., Oracle], *arguments: Any) -> Oracle:
    """Calls `make`; a bad value is the user's error, under its key in the config."""
    try:
        return make(*arguments)
    except (TypeError, ValueError) as error:  # its message begins with the argument
        argument, _, rest = str(error).partition(" ")
        raise UserError(f"oracle.{_KEY_OF.get(argument, argument)} {rest}") from error


def _check_choice(key: str, value: Any, choices: Collection[str]) -> None:
    if value in WRAPPERS and key == "inner":
        raise UserError(f"oracle.inner is {value!r}; choose an Oracle that is not itself a wrapper")
    if value not in choices:
        own = ", or a function as module:function" if key == "name" else ""
        raise UserError(f"oracle.{key} is {value!r}; choose one of {', '.join(choices)}{own}")
