"""A very small model with prompts, for the tests of the model, the sampler and the update."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from orl_jax.models.llama import Llama
from orl_jax.models.qformer import QFormerAdapter
from orl_jax.models.vision import ClipVision
from orl_jax.models.vlm import VLM

PAD, IMAGE, END, VOCABULARY = 0, 1, 2, 13
BANNED = jnp.arange(VOCABULARY) < END
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
    """Parameters of `make_vlm()`, the adapters drawn too (fresh ones change nothing)."""
    model = make_vlm()
    prompts = make_prompts()
    frames = jnp.zeros((1, FRAMES, 8, 8, 3), jnp.uint8)
    params = jax.jit(model.init)(jax.random.key(seed), frames, prompts.ids[:1], prompts.mask[:1])
    return with_random_lora(params["params"], seed + 1)


def with_random_lora(params: dict[str, Any], seed: int) -> dict[str, Any]:
    """The parameters with other values for every `lora_b`."""

    def draw(path: tuple[Any, ...], value: Array) -> Array:
        if path[-1].key != "lora_b":
            return value
        key = jax.random.fold_in(jax.random.key(seed), sum(map(ord, jax.tree_util.keystr(path))))
        return 0.3 * jax.random.normal(key, value.shape)

    return jax.tree_util.tree_map_with_path(draw, params)


class Prompts(NamedTuple):
    """Left-padded prompts with their videos' visual tokens."""

    visual: Array
    ids: Array
    mask: Array


def make_prompts(rows: int = 3) -> Prompts:
    """Prompts of 5, 6 and 4 tokens in 6 places, and so on; two of the tokens are the video's."""
    texts = [[5, IMAGE, IMAGE, 4, 7], [3, IMAGE, IMAGE, 9, 8, 4], [IMAGE, IMAGE, 6, 4]]
    ids = [[PAD] * (6 - len(text)) + text for text in (texts[row % 3] for row in range(rows))]
    visual = jax.random.normal(jax.random.key(7), (rows, VISUAL_TOKENS, 8))
    ids = jnp.array(ids, jnp.int32)
    return Prompts(visual, ids, ids != PAD)


class Responses(NamedTuple):
    """Right-padded responses, the end token included in the mask."""

    ids: Array
    mask: Array


def make_responses(rows: int = 3, group: int = 2, length: int = 4, seed: int = 0) -> Responses:
    """Random responses of 2 to `length` tokens, without banned ones."""
    keys = jax.random.split(jax.random.key(seed + 50), 2)
    ids = jax.random.randint(keys[0], (rows, group, length), END + 1, VOCABULARY)
    lengths = jax.random.randint(keys[1], (rows, group, 1), 2, length + 1)
    place = jnp.arange(length)
    ids = jnp.where(place == lengths - 1, END, jnp.where(place < lengths, ids, PAD))
    return Responses(ids, place < lengths)


def plain_hidden(
    model: VLM, params: dict[str, Any], prompts: Prompts, responses: Responses
) -> Array:
    """What `VLM.hidden_states` should be: each prompt and response as one row, without a cache."""
    rows, group, length = responses.ids.shape

    def forward(model: VLM) -> Array:
        prompt = model.embed_prompt(prompts.visual, prompts.ids)
        x = jnp.concatenate(
            [jnp.repeat(prompt, group, axis=0), model.language.embed(flat(responses.ids))], axis=1
        )
        mask = jnp.concatenate(
            [jnp.repeat(prompts.mask, group, axis=0), flat(responses.mask)], axis=1
        )
        positions = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
        hidden, _ = model.language(x[:, None], positions[:, None], mask[:, None])
        return hidden[:, 0]

    def flat(x: Array) -> Array:
        return x.reshape(rows * group, length)

    hidden = model.apply({"params": params}, method=forward)
    before = prompts.ids.shape[1] - 1
    return hidden[:, before : before + length].reshape(rows, group, length, -1)
