"""Models from a config and from plain arguments, whole, in half precision and quantised."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_model import IMAGE, PAD, VOCABULARY, random_params

from configs import demo
from orl_jax.models.llama import Llama
from orl_jax.models.pooling import PoolAdapter
from orl_jax.models.qformer import QFormerAdapter
from orl_jax.models.sequences import Prompt
from orl_jax.models.vision import ClipVision
from orl_jax.models.vlm_settings import VlmSettings

# Keys of `config.model` that configs of checkpoints from before lack.
NEWER = (
    *(("vision", key) for key in ("activation", "norm_epsilon", "dtype")),
    *(("adapter", key) for key in ("norm_epsilon", "time_embedding", "feature_norm", "dtype")),
    ("adapter", "exact_gelu"),
    *(("language", key) for key in ("tied", "head_width", "dtype", "rope_scaling", "rope_factor")),
    *(("language", f"rope_{key}") for key in ("low_frequency", "high_frequency")),
    ("language", "rope_original_length"),
)


@pytest.mark.parametrize(
    ("adapter", "kind", "tokens"),
    [({}, QFormerAdapter, 6), ({"name": "pool"}, PoolAdapter, 3 + 4)],
)
def test_a_model_is_built_from_the_config(adapter, kind, tokens):
    config = ConfigDict(demo.get_config("tiny").to_dict())
    config.model.adapter.update(adapter)
    config.model.language.layers = 3
    config.model.lora.rank = 4
    settings = VlmSettings.from_config(config)
    model = settings.build(vocabulary=17, image_id=5, lora=True)
    assert isinstance(model.adapter, kind)
    assert settings.visual_tokens == model.adapter.visual_tokens == tokens  # 3 frames, 4 patches
    assert model.image_id == 5
    assert (model.vision.image_size, model.vision.width) == (32, 16)
    language = model.language
    assert (language.vocabulary, language.layers, language.kv_heads) == (17, 3, 1)
    assert (language.lora_rank, language.lora_alpha) == (4, 32.0)
    assert settings.build(vocabulary=17, image_id=5, lora=False).language.lora_rank == 0
    frames = jnp.zeros((1, 3, 32, 32, 3), jnp.uint8)
    ids = jnp.full((1, 9), 5, jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), frames, Prompt(ids, ids > 0))["params"]
    assert set(shapes) == {"vision", "adapter", "language"}


def test_half_precision_of_the_config_reaches_every_module():
    config = ConfigDict(demo.get_config("tiny").to_dict())
    frames = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32, 3)), jnp.uint8)
    ids = jnp.asarray([[PAD, 3] + [IMAGE] * 7 + [4]], jnp.int32)  # 3 frames, 4 patches

    def build(adapter, dtype):
        config.model.adapter.name = adapter
        for section in ("vision", "adapter", "language"):
            config.model[section].dtype = dtype
        settings = VlmSettings.from_config(config)
        return settings.build(vocabulary=VOCABULARY, image_id=IMAGE, lora=False)

    def states(model):
        visual = model.see(frames)
        last, segment = model.prefill(visual, Prompt(ids, ids != PAD))
        return visual, segment.keys[0], last, last @ model.vocabulary_kernel()

    whole, half = build("pool", "float32"), build("pool", "bfloat16")
    params = {"params": random_params(whole, frames, Prompt(ids, ids != PAD))}
    outs = (jax.jit(partial(model.apply, method=states))(params) for model in (half, whole))
    for out, expected in zip(*outs, strict=True):
        assert (out.dtype, expected.dtype) == (jnp.bfloat16, jnp.float32)
        error = np.linalg.norm(out.astype("f4") - expected) / np.linalg.norm(expected)
        assert 1e-4 < error < 0.03
    assert build("qformer", "bfloat16").adapter.dtype == "bfloat16"


def test_keys_that_an_older_config_lacks_have_the_values_of_the_demo():
    config = ConfigDict(demo.get_config("tiny").to_dict())
    model = VlmSettings.from_config(config)
    for section, key in NEWER:
        del config.model[section][key]
    older = VlmSettings.from_config(config)
    for section, key in NEWER:
        module, same = getattr(model, section), getattr(older, section)
        assert (section, key, getattr(module, key)) == (section, key, _plain(getattr(same, key)))


def _plain(value):
    return value if isinstance(value, int | float | str) else jnp.dtype(value).name


def test_a_model_is_built_without_a_config():
    settings = VlmSettings(
        ClipVision(width=16, layers=2, heads=2, mlp_width=32, patch_size=16, image_size=32),
        PoolAdapter(frames=3, patches=4, language_width=16),
        Llama(vocabulary=0, width=16, layers=2, heads=2, kv_heads=1, mlp_width=32),
        lora_rank=4,
    )
    model = settings.build(vocabulary=130, image_id=5, lora=True)
    prompt = Prompt(jnp.full((1, 9), 5, jnp.int32), jnp.ones((1, 9), bool))
    frames = jnp.zeros((1, 3, 32, 32, 3), jnp.uint8)
    shapes = jax.eval_shape(model.init, jax.random.key(0), frames, prompt)["params"]
    assert shapes["language"]["embedding"].shape == (130, 16)
    assert shapes["language"]["layers"]["q"]["lora_a"].shape == (2, 16, 4)


def test_another_quantisation_is_that_of_every_part():
    settings = VlmSettings.from_config(demo.get_config("tiny"))
    assert settings.quantised("none") == settings
    other = settings.quantised("int8")
    parts = (other.vision, other.adapter, other.language)
    assert {part.quantisation for part in parts} == {"int8"}
    assert other.quantised("none") == settings
