"""The settings of the policy's loss: clipping, KL and entropy."""

import dataclasses

from ml_collections import ConfigDict

from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class PolicyLossSettings:
    """The loss: policy loss + kl_coefficient * KL - entropy_coefficient * entropy.

    Attributes:
      clip_low, clip_high: the importance ratio is clipped to [1 - clip_low, 1 + clip_high].
      clip_dual: bounds the loss of negative advantages; 0 is off; see `ops.losses`.
      importance_cap: of the weights that correct for the sampler's rounding; 0 is off.
      kl_coefficient: weight of the KL to the reference.
      kl_estimator: "k2" | "k3" | "exact" (over the vocabulary); "k1" only with a coefficient of 0,
        to log it: its expected gradient is 0. The others with a coefficient of 0 are computed only
        if something else reads the reference, and then only logged.
      entropy_coefficient: weight of the entropy.
      normalisation: of means over tokens: "token" | "sequence" | "constant"; see `ops.losses`.

    Raises:
      UserError: k1 as a loss.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coefficient: float = 0.02
    kl_estimator: str = "k3"
    entropy_coefficient: float = 0.0
    normalisation: str = "token"
    clip_dual: float = 0.0
    importance_cap: float = 0.0

    def __post_init__(self) -> None:
        if self.kl_estimator == "k1" and self.kl_coefficient:
            raise UserError(
                f"kl_estimator is 'k1' with kl_coefficient={self.kl_coefficient}; its expected "
                "gradient is 0: choose k3, k2 or exact, or a kl_coefficient of 0"
            )

    @classmethod
    def of(cls, rl: ConfigDict) -> "PolicyLossSettings":
        """Of `config.rl`."""
        return cls(
            clip_low=rl.clip_low,
            clip_high=rl.clip_high,
            kl_coefficient=rl.kl_coefficient,
            kl_estimator=rl.kl_estimator,
            entropy_coefficient=rl.entropy_coefficient,
            normalisation=rl.normalisation,
            clip_dual=rl.clip_dual,
            importance_cap=rl.importance_cap,
        )

    @property
    def reads_reference(self) -> bool:
        """Whether it needs the reference: for the KL in the loss, or k1 to log it."""
        return bool(self.kl_coefficient) or self.kl_estimator == "k1"
