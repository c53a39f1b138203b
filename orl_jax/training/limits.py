"""The thresholds of the monitors, as one record. No jax here."""

import dataclasses

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Limits:
    """When training is said to go wrong; 0 switches a monitor off. `configs/demo.py` has values.

    Attributes:
      window: logged steps that means are taken over.
      no_signal_fraction, advantage_floor: of advantage_collapse, means over the window.
      advantage_limit: of advantage_explosion.
      kl_limit: of policy_drift, nats per token.
      entropy_share: of entropy_collapse, of the first window's mean.
      length_factor: of length_drift, against the first window's mean, either way.
      paid_length, liked_length: of advantage_length and oracle_length, correlations, either way.
      direction_floor: of wrong_direction, a correlation; -1 switches it off.
      type_fall: of type_fall, a share.
      valid_floor: of oracle_failing, a share.
      gap_limit: of sampler_mismatch, nats.
      stop_on: names of monitors whose alarms should stop training.
    """

    window: int
    no_signal_fraction: float
    advantage_floor: float
    advantage_limit: float
    kl_limit: float
    entropy_share: float
    length_factor: float
    direction_floor: float
    type_fall: float
    valid_floor: float
    gap_limit: float
    paid_length: float = 0.05
    liked_length: float = 0.5
    stop_on: tuple[str, ...] = ()

    @classmethod
    def of(cls, section: ConfigDict) -> "Limits":
        """Of `config.monitors`."""
        return cls(
            window=section.window,
            no_signal_fraction=section.no_signal_fraction,
            advantage_floor=section.advantage_floor,
            advantage_limit=section.advantage_limit,
            kl_limit=section.kl_limit,
            entropy_share=section.entropy_share,
            length_factor=section.length_factor,
            direction_floor=section.direction_floor,
            type_fall=section.type_fall,
            valid_floor=section.valid_floor,
            gap_limit=section.gap_limit,
            paid_length=section.paid_length,
            liked_length=section.liked_length,
            stop_on=tuple(section.stop_on),
        )
