"""The section `audit` of the config, read once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

# What fails an audit: key of the section -> the value that switches the limit off.
OFF = {
    "min_tau": -1.0,
    "min_pair_accuracy": 0.0,
    "min_top1": 0.0,
    "min_self_tau": -1.0,
    "max_length_bias": 2.0,
    "max_invalid": 1.0,
    "min_transitive": 0.0,
    "max_position_bias": 1.0,
}


@dataclasses.dataclass(frozen=True)
class AuditSettings:
    """What is asked and how it is judged; `configs/oracles.py` says what each key is.

    Attributes:
      groups: files of groups of answers, separated by commas, with wildcards.
      truth: who is right: "reference", "recorded", "none", or a file of groups.
      max_groups: how many are asked about; 0 is all.
      seed: of the draw, of the orders of presentation and of the intervals.
      shuffles: asks per group.
      pairs: groups whose pairs are asked one by one.
      bootstrap: resamples of an interval.
      price: money per million "input" and "output" tokens.
      limits: by key of the section, those of `OFF`.
    """

    groups: str
    truth: str = "reference"
    max_groups: int = 200
    seed: int = 0
    shuffles: int = 3
    pairs: int = 50
    bootstrap: int = 2000
    price: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"input": 0.0, "output": 0.0}
    )
    limits: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(OFF))

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "AuditSettings":
        """The settings of a config section.

        Example: `AuditSettings.of(config.audit.to_dict()).limits["min_tau"]`.
        """
        limits = {key: section[key] for key in OFF}
        return cls(**{key: section[key] for key in section if key not in OFF}, limits=limits)
