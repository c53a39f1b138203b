"""A very small model with prompts, for the tests of the model, the sampler and the update."""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from orl_jax.models.llama import Llama
from orl_jax.models.qformer import QFormerAdapter
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vision import ClipVision
from orl_jax.models.vlm import VLM

PAD, IMAGE, END, VOCABULARY = 0, 1, 2, 13
BANNED = jnp.asarray(np.arange(VOCABULARY) < END)
FRAMES, VISUAL_TOKENS = 2, 2


def make_llama(**changes: Any) -> Llama:
    """Two layers of grouped-query attention with LoRA."""
    settings = {
        "vocabulary": VOCABULARY, "width": 8, "layers": 2, "heads": 2, "kv_heads": 1,
        "mlp_width": 12, "embedding_std": 1.0, "lora_rank": 2, "lora_alpha": 4.0,
    }  # fmt: skip
    return Llama(**(settings | changes))


def make_vlm(**changes: Any) -> VLM:
    """The whole model; `changes` are of the language model."""
    vision = ClipVision(
        width=8, layers=2, heads=2, mlp_width=12, patch_size=4, image_size=8,
        dtype=changes.get("dtype", jnp.float32),
    )  # fmt: skip
    language = make_llama(**changes)
    adapter = QFormerAdapter(
        queries=VISUAL_TOKENS, width=8, layers=1, heads=2, mlp_width=12, frames=FRAMES,
        language_width=language.width, cross_frequency=1, dtype=language.dtype,
    )  # fmt: skip
    return VLM(vision=vision, adapter=adapter, language=language, image_id=IMAGE)


@lru_cache
def make_params(seed: int = 0) -> dict[str, Any]:
    """Random parameters of `make_vlm()`, those of the adapters too."""
    prompts = make_prompts(1)
    frames = jnp.zeros((1, FRAMES, 8, 8, 3), jnp.uint8)
    return random_params(make_vlm(), frames, prompts.prompt, seed=seed)


def random_params(model: nn.Module, *inputs: Any, seed: int = 0) -> dict[str, Any]:
    """Values for every parameter, without compiling `init`: none is zero, norms are near 1."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> Array:
        values = rng.normal(size=shape.shape)
        if path[-1].key == "scale":
            values = 1 + 0.1 * values
        elif path[-1].key in ("kernel", "lora_a", "lora_b", "lm_head"):
            values /= np.sqrt(shape.shape[-2])
        return jnp.asarray(values, shape.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    return jax.tree_util.tree_map_with_path(draw, shapes)


def normal(*shape: int, seed: int = 0) -> Array:
    """Random numbers, drawn without compiling anything."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


class Prompts(NamedTuple):
    """Left-padded prompts with their videos' visual tokens."""

    visual: Array
    prompt: Prompt


def make_prompts(rows: int = 3) -> Prompts:
    """Prompts of 5, 6 and 4 tokens in 6 places, and so on; two of the tokens are the video's."""
    texts = [[5, IMAGE, IMAGE, 4, 7], [3, IMAGE, IMAGE, 9, 8, 4], [IMAGE, IMAGE, 6, 4]]
    ids = [[PAD] * (6 - len(text)) + text for text in (texts[row % 3] for row in range(rows))]
    ids = np.array(ids, np.int32)
    visual = normal(rows, VISUAL_TOKENS, 8, seed=7)
    return Prompts(visual, Prompt(jnp.asarray(ids), jnp.asarray(ids != PAD)))


def make_responses(rows: int = 3, group: int = 2, length: int = 4, seed: int = 0) -> Responses:
    """Random responses of 2 to `length` tokens, without banned ones."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(END + 1, VOCABULARY, (rows, group, length))
    lengths = rng.integers(2, length + 1, (rows, group, 1))
    place = np.arange(length)
    ids = np.where(place == lengths - 1, END, np.where(place < lengths, ids, PAD))
    return Responses(jnp.asarray(ids, jnp.int32), jnp.asarray(place < lengths))


@partial(jax.jit, static_argnums=0)
def plain_hidden(
    model: VLM, params: dict[str, Any], prompts: Prompts, responses: Responses
) -> Array:
    """What `VLM.hidden_states` should be: each prompt and response as one row, without a cache."""
    rows, group, length = responses.ids.shape

    def forward(model: VLM) -> Array:
        prompt = model.embed_prompt(prompts.visual, prompts.prompt.ids)
        x = jnp.concatenate(
            [jnp.repeat(prompt, group, axis=0), model.language.embed(flat(responses.ids))], axis=1
        )
        mask = jnp.concatenate(
            [jnp.repeat(prompts.prompt.mask, group, axis=0), flat(responses.mask)], axis=1
        )
        positions = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
        hidden, _ = model.language(x[:, None], positions[:, None], mask[:, None])
        return hidden[:, 0]

    def flat(x: Array) -> Array:
        return x.reshape(rows * group, length)

    hidden = model.apply({"params": params}, method=forward)
    before = prompts.prompt.ids.shape[1] - 1
    return hidden[:, before : before + length].reshape(rows, group, length, -1)
