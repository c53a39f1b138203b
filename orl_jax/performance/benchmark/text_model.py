"""A language model with random parameters, for prompts without a video."""

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from orl_jax.models.llama import Llama, Segment
from orl_jax.models.params import partition
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.performance.benchmark.random_params import random_params
from orl_jax.rl.batch import Judgement, RolloutBatch

_IMAGE = 1  # no prompt contains it


@dataclasses.dataclass(frozen=True)
class TextModel:
    """The language model of a VLM, with random batches.

    Attributes:
      settings: of the VLM.
      vocabulary: V.

    Example: `TextModel(settings, 32000).batch(prompts=1, group=5, prompt=626, response=64)`.
    """

    settings: VlmSettings
    vocabulary: int

    @cached_property
    def model(self) -> VLM:
        """The VLM; its vision tower and adapter get no parameters."""
        return self.settings.build(vocabulary=self.vocabulary, image_id=_IMAGE, lora=True)

    @cached_property
    def params(self) -> dict[str, Any]:
        """Random parameters, including those of the LoRA adapters."""
        prompt = Prompt(jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool))
        init = partial(self.model.init, method=_touch)
        shapes = jax.eval_shape(init, jax.random.key(0), self._media(1), prompt)["params"]
        dtype = self.settings.param_dtype
        return random_params(jax.tree_util.tree_map_with_path(partial(_typed, dtype), shapes))

    @cached_property
    def split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Trained and frozen parameters."""
        return partition(self.params, ((".*/lora_[ab]", "train"), (".*", "freeze")))

    @property
    def banned(self) -> jax.Array:
        """The `<image>` token."""
        return jnp.arange(self.vocabulary) == _IMAGE

    def _media(self, rows: int) -> jax.Array:
        language: Llama = self.model.language
        return jnp.zeros((rows, 1, language.width), language.dtype)

    def batch(self, *, prompts: int, group: int, prompt: int, response: int) -> RolloutBatch:
        """A rollout of random tokens, without padding."""
        rng = np.random.default_rng(0)

        def ids(*shape: int) -> jax.Array:
            return jnp.asarray(rng.integers(_IMAGE + 1, self.vocabulary, shape), jnp.int32)

        shape = (prompts, group, response)
        ranks = jnp.tile(jnp.arange(1.0, group + 1), (prompts, 1))
        return RolloutBatch(
            media=self._media(prompts),
            prompt=Prompt(ids(prompts, prompt), jnp.ones((prompts, prompt), bool)),
            responses=Responses(ids(*shape), jnp.ones(shape, bool), jnp.full(shape, -3.0)),
            judgement=Judgement(ranks, group - ranks, jnp.ones(prompts, bool)),
        )

    def prefill(self, params: dict[str, Any], batch: RolloutBatch) -> tuple[jax.Array, Segment]:
        """`VLM.prefill` of a batch's prompts."""
        return self.model.apply({"params": params}, batch.media, batch.prompt, method=VLM.prefill)


def _touch(model: nn.Module, media: jax.Array, prompt: Prompt) -> Any:
    """Touches every parameter of the language model once."""
    return model.prefill(media, prompt)[0] @ model.vocabulary_kernel()


def _typed(dtype: str, path: tuple[Any, ...], leaf: Any) -> jax.ShapeDtypeStruct:
    """The types in a run: float32 for trained parameters; codes and scales keep their own."""
    own = path[-1].key in ("lora_a", "lora_b", "codes", "scales")
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype if own else dtype)
