"""The config section `oracle` as a record."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class OracleSettings:
    """Which Oracle ranks the answers, the settings of every Oracle, and how it is asked.

    Args:
      name: "reference", "graded", "facts", "served", "recorded", "embedding", a wrapper ("noisy",
        "reversed", "top", "coarse", "distorted", "delayed"), "ensemble", your own function as
        "module:function", or the name of an Oracle that `make_oracle` is given.
      policy: of `ask`, where the Oracle fails: "skip" or "raise".
      inner: of a wrapper, the name of the Oracle that it wraps, not itself a wrapper.
      swap_probability, invalid_probability: of "noisy", in [0, 1].
      seed: of "noisy", "top", "distorted" and "served".
      top_k: of "top", how many answers it names, at least 1.
      levels: of "coarse", how many levels it tells apart, at least 2.
      delay_seconds: of "delayed", per call, at least 0.
      distortion: of "distorted", its strength in [0, 10].
      scales: of "graded", tuples of values in their order.
      checkpoint: of a trained Oracle.
      tie_margin: of a trained Oracle: scores no further apart are tied, in log-odds.
      members: of "ensemble", two or more names of Oracles that are not wrappers.
      quorum: of "ensemble", members that must have a ranking.
      served: of "served", a section of its own; see `orl_jax.oracles.served.oracle.Settings`.
      recorded: of "recorded", a file of groups with orders.
      embedding: of "embedding", a section of its own; see `orl_jax.oracles.embedding.Settings`.
      halt_above: the share of a step's groups without a ranking above which training pauses.
      pause_seconds: how long it pauses before it asks again.
      overlap: whether the next videos are encoded while the Oracle is asked.
      lag: 1 samples the next answers while the Oracle is asked, with a policy one update old.

    Example: `OracleSettings("noisy", swap_probability=0.2, seed=1)`.
    """

    name: str | None = None
    policy: str = "skip"
    inner: str = "reference"
    swap_probability: float = 0.0
    invalid_probability: float = 0.0
    seed: int = 0
    top_k: int = 1
    levels: int = 2
    delay_seconds: float = 1.0
    distortion: float = 1.0
    scales: tuple[tuple[str, ...], ...] = ()
    checkpoint: str = ""
    tie_margin: float = 0.0
    members: tuple[str, ...] = ()
    quorum: int = 1
    served: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recorded: str = ""
    embedding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    halt_above: float = 1.0
    pause_seconds: float = 30.0
    overlap: bool = False
    lag: int = 0

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Self:
        """The settings in a section; a key that is left out has its default.

        Raises:
          UserError: an unknown key.

        Example: `OracleSettings.of(config.oracle)`, `OracleSettings.of({"name": "reference"})`.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(set(section) - set(known)):
            raise UserError(f"oracle.{unknown[0]} is not a key; choose from {', '.join(known)}")
        given = {key: section[key] for key in section}
        return cls(**given | {"members": tuple(given.get("members", ()))})
