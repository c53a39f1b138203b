"""config.json of other libraries under our names: by hand, as transformers writes it, refusals."""

import hub_models as hub
import pytest
from transformers import (
    Blip2Config,
    CLIPConfig,
    CLIPVisionConfig,
    InstructBlipQFormerConfig,
    LlamaConfig,
)

from orl_jax.models.llama import Llama
from orl_jax.models.vision import ClipVision
from orl_jax.run.errors import UserError
from orl_jax.weights import settings

LLAMA = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
    "num_attention_heads": 4, "rms_norm_eps": 1e-3, "rope_theta": 100.0,
}  # fmt: skip
LLAVA = LLAMA | {
    "model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 1024, "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch", "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False, "image_aspect_ratio": "pad",
}  # fmt: skip


@pytest.mark.parametrize("family", hub.FAMILIES)
def test_llama_as_transformers_writes_it(family):
    given = {
        "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "rms_norm_eps": 1e-3,
        "num_attention_heads": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    }  # fmt: skip
    read = settings.language(LlamaConfig(**(given | hub.FAMILIES[family][0])).to_dict())
    assert Llama(11, **read) == Llama(11, **hub.our_language(family))


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ({}, {}),
        ({"rope_scaling": None, "attention_bias": None}, {}),
        ({"num_key_value_heads": 2}, {"kv_heads": 2}),
        ({"rope_scaling": {"type": "linear", "factor": 3}}, hub.FAMILIES["linear"][1]),
        (
            {
                "max_position_embeddings": 8,
                "rope_scaling": {
                    "rope_type": "llama3", "factor": 4, "low_freq_factor": 1,
                    "high_freq_factor": 4,
                },
            },
            hub.FAMILIES["llama3"][1],
        ),
    ],
)  # fmt: skip
def test_llama_in_the_old_style(theirs, ours):
    assert Llama(11, **settings.language(LLAMA | theirs)) == Llama(
        11, **(hub.our_language() | ours)
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "mistral"}, "model_type='mistral'; only 'llama'"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'; only 'silu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config="),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_scaling='dynamic'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2}}, "rope_scaling='yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2}}, "no low_freq_factor, high_"),
    ],
)
def test_unsupported_llama_settings_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        settings.language(LLAMA | change)


def test_a_llama_config_without_a_size_is_refused():
    with pytest.raises(UserError, match="config.json has no hidden_size"):
        settings.language({key: LLAMA[key] for key in LLAMA if key != "hidden_size"})


def test_clip():
    numbers = {
        "hidden_size": 32, "intermediate_size": 20, "num_hidden_layers": 3,
        "num_attention_heads": 4, "patch_size": 4, "image_size": 8, "hidden_act": "gelu",
        "layer_norm_eps": 1e-3,
    }  # fmt: skip
    alone = settings.vision(CLIPVisionConfig(**numbers).to_dict(), -2)
    assert alone == settings.vision(CLIPConfig(vision_config=numbers).to_dict(), -2)
    expected = ClipVision(
        width=32, layers=3, heads=4, mlp_width=20, patch_size=4, image_size=8, select_layer=-2,
        activation="gelu", norm_epsilon=1e-3,
    )  # fmt: skip
    assert ClipVision(image_size=alone.image_size, **alone.settings) == expected


def test_clip_of_an_old_folder_without_defaults():
    read = settings.vision({"model_type": "clip", "vision_config": {"patch_size": 16}}, -2)
    default = settings.vision(CLIPVisionConfig(patch_size=16).to_dict(), -2)
    assert read == default
    assert read.settings["activation"] == "quick_gelu"


@pytest.mark.parametrize("given, from_end", [(-2, -2), (-3, -3), (3, -1), (1, -3)])
def test_the_selected_layer_may_be_counted_from_either_end(given, from_end):
    config = {"model_type": "clip_vision_model", "num_hidden_layers": 3}
    assert settings.vision(config, given).settings["select_layer"] == from_end


@pytest.mark.parametrize("layer", [0, 4, -4])
def test_a_layer_that_does_not_exist_is_refused(layer):
    config = {"model_type": "clip_vision_model", "num_hidden_layers": 3}
    with pytest.raises(UserError, match=f"is {layer} of 3 layers"):
        settings.vision(config, layer)


def test_qformers():
    read = settings.qformer(InstructBlipQFormerConfig(num_hidden_layers=4).to_dict())
    assert read == {
        "name": "qformer", "width": 768, "layers": 4, "heads": 12, "mlp_width": 3072,
        "cross_frequency": 2, "norm_epsilon": 1e-12,
    }  # fmt: skip
    whole = Blip2Config(qformer_config={"num_hidden_layers": 4}, num_query_tokens=7).to_dict()
    assert settings.qformer(whole) == read | {"queries": 7}
    with pytest.raises(UserError, match="hidden_act='relu'; only 'gelu'"):
        settings.qformer({"model_type": "blip_2_qformer", "hidden_act": "relu"})


def test_the_baselines_merged_checkpoint():
    read = settings.llava(LLAVA)
    assert read.language == settings.language(LLAMA)
    assert read.framing == "pad"
    vision = ClipVision(
        width=1024, layers=24, heads=16, mlp_width=4096, patch_size=14, image_size=336,
        select_layer=-2,
    )  # fmt: skip
    assert ClipVision(image_size=read.vision.image_size, **read.vision.settings) == vision
    smaller = settings.llava(LLAVA | {"mm_vision_tower": "/x/clip-vit-large-patch14/"})
    assert smaller.vision.image_size == 224
    assert settings.llava(LLAVA | {"image_aspect_ratio": "square"}).framing == "crop"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type='linear'; only 'mlp2x_gelu'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end=True"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature='cls_patch'"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio='anyres'; only 'pad' or 'square'"),
        ({"mm_vision_tower": "google/siglip"}, "mm_vision_tower='google/siglip'"),
        ({"text_config": {}}, "a LLaVA of transformers"),
        ({"attention_bias": True}, "attention_bias=True"),
    ],
)
def test_unsupported_llava_settings_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        settings.llava(LLAVA | change)


def test_llava_without_a_named_projector_has_a_linear_one():
    config = {key: value for key, value in LLAVA.items() if key != "mm_projector_type"}
    with pytest.raises(UserError, match="mm_projector_type='linear'"):
        settings.llava(config)
