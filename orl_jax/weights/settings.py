"""Converts config.json of other libraries' models to sections of our config.

A setting that this model does not support is refused, by name and value. Values missing from a file
take the defaults of its `transformers` configuration class.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from orl_jax.run.errors import UserError
from orl_jax.weights.fields import count, expect, number, refused, section, shown

# Theirs, ours, and the default where there is one.
_LLAMA = (
    ("hidden_size", "width", None),
    ("num_hidden_layers", "layers", None),
    ("num_attention_heads", "heads", None),
    ("intermediate_size", "mlp_width", None),
)
_CLIP = (
    ("hidden_size", "width", 768),
    ("num_hidden_layers", "layers", 12),
    ("num_attention_heads", "heads", 12),
    ("intermediate_size", "mlp_width", 3072),
    ("patch_size", "patch_size", 32),
)
_QFORMER = (
    ("hidden_size", "width", 768),
    ("num_hidden_layers", "layers", 12),
    ("num_attention_heads", "heads", 12),
    ("intermediate_size", "mlp_width", 3072),
    ("cross_attention_frequency", "cross_frequency", 2),
)
_SIDE = 512  # patches along an image, at most
_ROPE = {
    "linear": (("factor", "rope_factor"),),
    "llama3": (
        ("factor", "rope_factor"),
        ("low_freq_factor", "rope_low_frequency"),
        ("high_freq_factor", "rope_high_frequency"),
    ),
}
# The towers that LLaVA was trained with, CLIP ViT-L/14: suffix of `mm_vision_tower` -> image size.
_TOWERS = {"clip-vit-large-patch14-336": 336, "clip-vit-large-patch14": 224}
_FRAMINGS = {"pad": "pad", "square": "crop"}

Settings = dict[str, Any]
Fields = tuple[tuple[str, str, int | None], ...]


class Vision(NamedTuple):
    """`model.vision` and `data.image_size`."""

    settings: Settings
    image_size: int


class Llava(NamedTuple):
    """`model.language`, the vision tower with its selected layer, and `data.framing`."""

    language: Settings
    vision: Vision
    framing: str


def language(config: Mapping[str, Any]) -> Settings:
    """`LlamaForCausalLM`: LLaMA, Vicuna, TinyLlama, SmolLM2.

    Raises:
      UserError: another model; biases, another activation or RoPE scaling; quantised weights.

    Example: `language(json.load(open("llama-2-7b/config.json")))["width"] == 4096`.
    """
    expect(config, "model_type", ("llama",), "llama")
    return _llama(config)


def vision(config: Mapping[str, Any], select_layer: int) -> Vision:
    """`CLIPVisionModel`, or the `vision_config` of a `CLIPModel`.

    Args:
      config: config.json.
      select_layer: the hidden state to read, counted from the end: -2 as in LLaVA.

    Raises:
      UserError: another model or activation; a layer that does not exist.

    Example: `vision({"model_type": "clip", "vision_config": {"image_size": 336}}, -2).image_size`.
    """
    expect(config, "model_type", ("clip_vision_model", "clip"), "clip_vision_model")
    return _clip(section(config, "vision_config", config), select_layer)


def qformer(config: Mapping[str, Any]) -> Settings:
    """`Blip2QFormerModel`, `InstructBlipQFormerModel`, or the Q-Former of a BLIP-2 folder.

    Raises:
      UserError: another model, activation, or kind of positions.

    Example: `qformer({"model_type": "blip_2_qformer"})["cross_frequency"] == 2`.
    """
    kinds = ("blip_2_qformer", "instructblip_qformer", "blip-2", "instructblip")
    expect(config, "model_type", kinds, "blip_2_qformer")
    own = section(config, "qformer_config", config)
    expect(own, "hidden_act", ("gelu",), "gelu")
    expect(own, "position_embedding_type", ("absolute",), "absolute")
    settings = {"name": "qformer", **_counts(own, _QFORMER), "norm_epsilon": _epsilon(own, 1e-12)}
    if settings["layers"] % settings["cross_frequency"]:
        raise UserError(
            f"cross_attention_frequency is {settings['cross_frequency']}; it must divide "
            f" num_hidden_layers={settings['layers']}"
        )
    if config.get("num_query_tokens") is not None:
        settings["queries"] = count(config, "num_query_tokens")
    return settings


def llava(config: Mapping[str, Any]) -> Llava:
    """LLaVA (haotian-liu/LLaVA) and the baseline, yonseivnl/vlm-rlaif, with the `pool` adapter.

    Their folders hold CLIP without its settings: unless there is a `vision_config`, these are those
    of the ViT-L/14 that `mm_vision_tower` names.

    Raises:
      UserError: another model, projector or tower; image start and end tokens; anything that
        `language` or `vision` refuses.

    Example: `llava(config).vision.settings["select_layer"] == -2`.
    """
    expect(config, "model_type", ("llava", "llava_llama"), "llava")
    if "text_config" in config:
        raise UserError(
            "this is a LLaVA of transformers (config.json has a text_config); only the layout of "
            "haotian-liu/LLaVA can be read, with mm_projector_type in config.json"
        )
    expect(config, "mm_projector_type", ("mlp2x_gelu",), "linear")
    expect(config, "mm_vision_select_feature", ("patch",), "patch")
    expect(config, "mm_use_im_start_end", (False, None), None)
    framing = expect(config, "image_aspect_ratio", tuple(_FRAMINGS), "pad")
    tower = section(config, "vision_config") or _tower(config)
    select_layer = config.get("mm_vision_select_layer", -2)
    return Llava(_llama(config), _clip(tower, select_layer), _FRAMINGS[framing])


def _llama(config: Mapping[str, Any]) -> Settings:
    expect(config, "hidden_act", ("silu",), "silu")
    for flag in ("attention_bias", "mlp_bias"):
        expect(config, flag, (False, None), None)
    expect(config, "quantization_config", (None,), None)
    settings = _counts(config, _LLAMA)
    head_width = count(config, "head_dim") if config.get("head_dim") else 0
    usual = head_width * settings["heads"] == settings["width"]
    heads = settings["heads"]
    kv_heads = heads
    if config.get("num_key_value_heads") is not None:
        kv_heads = count(config, "num_key_value_heads")
    for key, part, whole in (
        ("num_attention_heads", heads if not head_width else 1, ("hidden_size", settings["width"])),
        ("num_key_value_heads", kv_heads, ("num_attention_heads", heads)),
    ):
        if whole[1] % part:
            raise UserError(f"{key} is {part}; it must divide {whole[0]}={whole[1]}")
    return settings | {
        "kv_heads": kv_heads,
        "head_width": 0 if usual else head_width,
        "norm_epsilon": number(config, "rms_norm_eps", 1e-6, 0, 1),
        "tied": expect(config, "tie_word_embeddings", (False, True), False),
        **_rope(config),
    }


def _rope(config: Mapping[str, Any]) -> Settings:
    """Old files have `rope_theta` and `rope_scaling` with a `type`, new ones `rope_parameters`."""
    given = section(config, "rope_parameters") or section(config, "rope_scaling")
    kind = given.get("rope_type") or given.get("type") or "default"
    theta = given if given.get("rope_theta") is not None else config
    base = number(theta, "rope_theta", 10000.0, 1, 1e12)
    settings = {"rope_base": base, "rope_scaling": "none"}
    if kind == "default":
        return settings
    if kind not in ("linear", "llama3"):
        raise refused("rope_scaling", kind, ("default", "linear", "llama3"))
    settings["rope_scaling"] = kind
    if missing := [theirs for theirs, _ in _ROPE[kind] if theirs not in given]:
        raise UserError(f"the rope_scaling of config.json has no {', '.join(missing)}")
    for theirs, ours in _ROPE[kind]:
        settings[ours] = number(given, theirs, None, 0, 1e6)
    if kind == "llama3":
        usual = count(config, "max_position_embeddings", 2048)
        settings["rope_original_length"] = count(given, "original_max_position_embeddings", usual)
    return settings


def _clip(config: Mapping[str, Any], select_layer: Any) -> Vision:
    activation = expect(config, "hidden_act", ("quick_gelu", "gelu"), "quick_gelu")
    settings = _counts(config, _CLIP)
    settings |= {"activation": activation, "norm_epsilon": _epsilon(config, 1e-5)}
    states = settings["layers"] + 1  # the embeddings and the output of each layer
    known = isinstance(select_layer, int) and not isinstance(select_layer, bool)
    if not known or not -states < select_layer < states or select_layer == 0:
        raise UserError(
            f"the layer to read, mm_vision_select_layer or config.model.vision.select_layer, is "
            f"{shown(select_layer)} of {settings['layers']} layers; choose one, for example -2"
        )
    size, patch = count(config, "image_size", 224), settings["patch_size"]
    if size % patch or size // patch > _SIDE:
        raise UserError(
            f"image_size is {size} and patch_size {patch}; the image must be 1 to {_SIDE} whole "
            "patches wide"
        )
    from_end = select_layer if select_layer < 0 else select_layer - states
    return Vision(settings | {"select_layer": from_end}, size)


def _tower(config: Mapping[str, Any]) -> Settings:
    name = str(config.get("mm_vision_tower", "")).rstrip("/")
    size = next((size for tower, size in _TOWERS.items() if name.endswith(tower)), None)
    if size is None:
        raise refused("mm_vision_tower", name, tuple(_TOWERS))
    return {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "intermediate_size": 4096, "patch_size": 14, "image_size": size,
    }  # fmt: skip


def _counts(config: Mapping[str, Any], fields: Fields) -> Settings:
    if missing := [theirs for theirs, _, usual in fields if usual is None and theirs not in config]:
        raise UserError(f"config.json has no {', '.join(missing)}; copy the folder again")
    settings = {ours: count(config, theirs, default) for theirs, ours, default in fields}
    if fields is not _LLAMA and settings["width"] % settings["heads"]:  # LLaMA's may be any width
        raise UserError(
            f"num_attention_heads is {settings['heads']}; it must divide "
            f"hidden_size={settings['width']}"
        )
    return settings


def _epsilon(config: Mapping[str, Any], default: float) -> float:
    return number(config, "layer_norm_eps", default, 0, 1)
