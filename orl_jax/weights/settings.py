"""Converts config.json of other libraries' models to sections of our config.

A setting that this model does not support is refused, by name and value. Values missing from a file
take the defaults of its `transformers` configuration class.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from orl_jax.run.errors import UserError

# Theirs, ours, and the default where there is one.
_LLAMA = (
    ("hidden_size", "width"),
    ("num_hidden_layers", "layers"),
    ("num_attention_heads", "heads"),
    ("intermediate_size", "mlp_width"),
)
_CLIP = (
    ("hidden_size", "width", 768),
    ("num_hidden_layers", "layers", 12),
    ("num_attention_heads", "heads", 12),
    ("intermediate_size", "mlp_width", 3072),
    ("patch_size", "patch_size", 32),
    ("hidden_act", "activation", "quick_gelu"),
    ("layer_norm_eps", "norm_epsilon", 1e-5),
)
_QFORMER = (
    ("hidden_size", "width", 768),
    ("num_hidden_layers", "layers", 12),
    ("num_attention_heads", "heads", 12),
    ("intermediate_size", "mlp_width", 3072),
    ("cross_attention_frequency", "cross_frequency", 2),
    ("layer_norm_eps", "norm_epsilon", 1e-12),
)
_ROPE = (("factor", "rope_factor"),)
_LLAMA3_ROPE = (
    *_ROPE,
    ("low_freq_factor", "rope_low_frequency"),
    ("high_freq_factor", "rope_high_frequency"),
)
# The towers that LLaVA was trained with, CLIP ViT-L/14: suffix of `mm_vision_tower` -> image size.
_TOWERS = {"clip-vit-large-patch14-336": 336, "clip-vit-large-patch14": 224}
_FRAMINGS = {"pad": "pad", "square": "crop"}

Settings = dict[str, Any]


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
    _expect(config, "model_type", ("llama",), "llama")
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
    _expect(config, "model_type", ("clip_vision_model", "clip"), "clip_vision_model")
    return _clip(config.get("vision_config", config), select_layer)


def qformer(config: Mapping[str, Any]) -> Settings:
    """`Blip2QFormerModel`, `InstructBlipQFormerModel`, or the Q-Former of a BLIP-2 folder.

    Raises:
      UserError: another model, activation, or kind of positions.

    Example: `qformer({"model_type": "blip_2_qformer"})["cross_frequency"] == 2`.
    """
    kinds = ("blip_2_qformer", "instructblip_qformer", "blip-2", "instructblip")
    _expect(config, "model_type", kinds, "blip_2_qformer")
    own = config.get("qformer_config", config)
    _expect(own, "hidden_act", ("gelu",), "gelu")
    _expect(own, "position_embedding_type", ("absolute",), "absolute")
    queries = config.get("num_query_tokens")
    number = {} if queries is None else {"queries": queries}
    return {"name": "qformer", **_renamed(own, _QFORMER), **number}


def llava(config: Mapping[str, Any]) -> Llava:
    """LLaVA (haotian-liu/LLaVA) and the baseline, yonseivnl/vlm-rlaif, with the `pool` adapter.

    Their folders hold CLIP without its settings: unless there is a `vision_config`, these are those
    of the ViT-L/14 that `mm_vision_tower` names.

    Raises:
      UserError: another model, projector or tower; image start and end tokens; anything that
        `language` or `vision` refuses.

    Example: `llava(config).vision.settings["select_layer"] == -2`.
    """
    _expect(config, "model_type", ("llava", "llava_llama"), "llava")
    if "text_config" in config:
        raise UserError(
            "this is a LLaVA of transformers (config.json has a text_config); only the layout of "
            "haotian-liu/LLaVA can be read, with mm_projector_type in config.json"
        )
    _expect(config, "mm_projector_type", ("mlp2x_gelu",), "linear")
    _expect(config, "mm_vision_select_feature", ("patch",), "patch")
    _expect(config, "mm_use_im_start_end", (False, None), None)
    framing = _expect(config, "image_aspect_ratio", tuple(_FRAMINGS), "pad")
    tower = config.get("vision_config") or _tower(config)
    select_layer = config.get("mm_vision_select_layer", -2)
    return Llava(_llama(config), _clip(tower, select_layer), _FRAMINGS[framing])


def _llama(config: Mapping[str, Any]) -> Settings:
    _expect(config, "hidden_act", ("silu",), "silu")
    for flag in ("attention_bias", "mlp_bias"):
        _expect(config, flag, (False, None), None)
    _expect(config, "quantization_config", (None,), None)
    settings = _required(config, _LLAMA, "config.json")
    head_width = config.get("head_dim") or 0
    usual = head_width * settings["heads"] == settings["width"]
    return settings | {
        "kv_heads": config.get("num_key_value_heads") or settings["heads"],
        "head_width": 0 if usual else head_width,
        "norm_epsilon": config.get("rms_norm_eps", 1e-6),
        "tied": bool(config.get("tie_word_embeddings", False)),
        **_rope(config),
    }


def _rope(config: Mapping[str, Any]) -> Settings:
    """Old files have `rope_theta` and `rope_scaling` with a `type`, new ones `rope_parameters`."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = given.get("rope_type") or given.get("type") or "default"
    base = given.get("rope_theta") or config.get("rope_theta") or 10000.0
    settings = {"rope_base": float(base), "rope_scaling": "none"}
    if kind == "default":
        return settings
    if kind not in ("linear", "llama3"):
        raise _refused("rope_scaling", kind, ("default", "linear", "llama3"))
    fields = _ROPE if kind == "linear" else _LLAMA3_ROPE
    scaling = _required(given, fields, "the rope_scaling of config.json")
    settings |= {"rope_scaling": kind} | {key: float(value) for key, value in scaling.items()}
    if kind == "llama3":
        usual = config.get("max_position_embeddings", 2048)
        length = given.get("original_max_position_embeddings") or usual
        settings["rope_original_length"] = length
    return settings


def _clip(config: Mapping[str, Any], select_layer: int) -> Vision:
    _expect(config, "hidden_act", ("quick_gelu", "gelu"), "quick_gelu")
    settings = _renamed(config, _CLIP)
    states = settings["layers"] + 1  # the embeddings and the output of each layer
    if not -states < select_layer < states or select_layer == 0:
        raise UserError(
            f"the layer to read, mm_vision_select_layer or config.model.vision.select_layer, is "
            f"{select_layer} of {settings['layers']} layers; choose one, for example -2"
        )
    from_end = select_layer if select_layer < 0 else select_layer - states
    return Vision(settings | {"select_layer": from_end}, config.get("image_size", 224))


def _tower(config: Mapping[str, Any]) -> Settings:
    name = str(config.get("mm_vision_tower", "")).rstrip("/")
    size = next((size for tower, size in _TOWERS.items() if name.endswith(tower)), None)
    if size is None:
        raise _refused("mm_vision_tower", name, tuple(_TOWERS))
    return {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "intermediate_size": 4096, "patch_size": 14, "image_size": size,
    }  # fmt: skip


def _renamed(config: Mapping[str, Any], fields: tuple[tuple[str, str, Any], ...]) -> Settings:
    return {ours: config.get(theirs, default) for theirs, ours, default in fields}


def _required(
    config: Mapping[str, Any], fields: tuple[tuple[str, str], ...], where: str
) -> Settings:
    if missing := [theirs for theirs, _ in fields if theirs not in config]:
        raise UserError(f"{where} has no {', '.join(missing)}; copy the folder again")
    return {ours: config[theirs] for theirs, ours in fields}


def _expect(config: Mapping[str, Any], key: str, choices: tuple[Any, ...], default: Any) -> Any:
    """The value of a key, which must be one of those that this model supports."""
    value = config.get(key, default)
    if value not in choices:
        raise _refused(key, value, choices)
    return value


def _refused(key: str, value: Any, choices: tuple[Any, ...]) -> UserError:
    known = " or ".join(map(repr, choices))
    return UserError(f"config.json says {key}={value!r}; only {known} can be imported")
