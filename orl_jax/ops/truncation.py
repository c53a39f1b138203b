"""Truncated sampling: top-k, top-p and min-p, for the sampler and the loss alike."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Truncation:
    """Which tokens of a distribution are kept; one after the other, as in `transformers`.

    Attributes:
      top_k: the k likeliest; 0 keeps all.
      top_p: the fewest likeliest ones that together reach this probability; 1 keeps all.
      min_p: those at least min_p times as likely as the likeliest one; 0 keeps all.

    Raises:
      ValueError: top_k below 0, top_p not in (0, 1], min_p not in [0, 1).

    Example: `Truncation(top_p=0.9)`.
    """

    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must be 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min_p is {self.min_p}; it must be at least 0 and below 1")

    def __bool__(self) -> bool:
        """Whether any token can be left out."""
        return bool(self.top_k) or self.top_p < 1 or self.min_p > 0

    def kept(
        self, logits: Float[Array, "*batch V"], always: Int[Array, "*batch"] | None = None
    ) -> Bool[Array, "*batch V"]:
        """The tokens that can be drawn. Those as likely as the last one kept are kept, too.

        Args:
          logits: of the distribution, after the temperature and without banned tokens.
          always: a token that is kept in any case: the one that was sampled, so that its
            probability is never 0 where this policy would leave it out.

        Example: `Truncation(top_k=1).kept(jnp.array([0.0, 2.0, 1.0]))` is [False, True, False].
        """
        kept = jnp.ones(logits.shape, bool)
        if 0 < self.top_k < logits.shape[-1]:
            kept &= logits >= jax.lax.top_k(logits, self.top_k)[0][..., -1:]
        if self.top_p < 1:
            kept &= logits >= self._smallest(jnp.where(kept, logits, -jnp.inf))
        if self.min_p > 0:
            kept &= logits >= jnp.max(logits, axis=-1, keepdims=True) + math.log(self.min_p)
        if always is not None:
            kept |= jnp.arange(logits.shape[-1]) == always[..., None]
        return kept

    def _smallest(self, logits: Float[Array, "*batch V"]) -> Float[Array, "*batch 1"]:
        """The smallest logit of the likeliest tokens that together reach `top_p`."""
        descending = -jnp.sort(-logits, axis=-1)
        probability = jax.nn.softmax(descending, axis=-1)
        likelier = jnp.cumsum(probability, axis=-1) - probability
        inside = jnp.where(likelier < self.top_p, descending, jnp.inf)
        return jnp.min(inside, axis=-1, keepdims=True)


WHOLE = Truncation()
