"""Reads LoRA adapters that were saved by PEFT (github.com/huggingface/peft).

PEFT's `lora_A` is [rank, in] and its `lora_B` [out, rank], one pair per layer and module; ours are
their transposes, stacked over the layers. Both libraries scale by alpha / rank.
"""

import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orl_jax.models.llama import Llama
from orl_jax.run.errors import UserError
from orl_jax.weights import shard
from orl_jax.weights.fields import count, number, shown
from orl_jax.weights.folder import read_json
from orl_jax.weights.names import PROJECTIONS
from orl_jax.weights.peft_names import CONFIG, KEY, PICKLED, SAFE

# Where an adapter may be inside the named folder: PEFT's own place, then those of LLaVA-RLHF and
# VLM-RLAIF.
_PLACES = ("", "adapter_model", "lora_default", "adapter_model/lora_default")
# Settings that don't change what a stored adapter computes, or that its tensors show anyway.
_NEUTRAL = frozenset(
    "peft_type peft_version auto_mapping task_type base_model_name_or_path revision inference_mode "
    "r lora_alpha use_rslora lora_dropout target_modules exclude_modules layers_to_transform "
    "layers_pattern eva_config megatron_core qalora_group_size runtime_config ensure_weight_tying "
    "ephemeral_gpu_offload".split()
)
# These initialise only the adapter; others, such as "pissa", also change the base weights.
_HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")

_LARGEST_ALPHA = 1e5

Given = dict[tuple[str, int], dict[str, np.ndarray]]  # (ours, layer): {"A": ..., "B": ...}


class PeftAdapter(NamedTuple):
    """An adapter in our form.

    Attributes:
      params: {"language": {"layers": {"q": {"lora_a": [N, D_in, rank], "lora_b": [N, rank, D_out]},
        ...}}}, float32, for all seven projections and N layers.
      rank, alpha: for `config.model.lora`.
    """

    params: dict[str, Any]
    rank: int
    alpha: float


def read_peft(folder: str | os.PathLike[str], model: Llama, *, seed: int = 0) -> PeftAdapter:
    """Reads an adapter saved by PEFT, for `model`.

    Projections and layers that it does not adapt get a fresh adapter with a zero `lora_b`, which
    changes nothing. For rank-stabilised adapters (alpha / sqrt(rank)), alpha is converted to give
    the same scale.

    Args:
      folder: holds adapter_config.json and adapter_model.safetensors or .bin, either directly or in
        adapter_model/ or lora_default/. A .bin file needs torch.
      model: gives the shapes; its own rank and alpha are not read.
      seed: of the fresh `lora_a`.

    Raises:
      UserError: no adapter; a damaged file, or one that contains code; a setting or module without
        a counterpart here (DoRA, trained biases, ...); the shapes of another model; tensors that
        are not floats, or hold NaN or infinity. Each is named.

    Example: `read_peft("runs/adapter", model).params["language"]["layers"]["q"]["lora_a"].shape`.
    """
    place = _find(Path(folder))
    rank, alpha = _read_config(place / CONFIG)
    shapes = projection_shapes(model)
    given = _by_projection(_read_tensors(place), place)
    _check_shapes(given, shapes, model.layers, rank, place)
    if gaps := len(shapes) * model.layers - len(given):
        logging.info("%s lacks %d projections; their adapters start at zero", place, gaps)
    layers = {
        name: _stack(given, name, (model.layers, *shape, rank), np.random.default_rng([seed, i]))
        for i, (name, shape) in enumerate(shapes.items())
    }
    return PeftAdapter({"language": {"layers": layers}}, rank, alpha)


def projection_shapes(model: Llama) -> dict[str, tuple[int, int]]:
    """(D_in, D_out) of each projection of a layer.

    Example: `projection_shapes(model)["down"] == (model.mlp_width, model.width)`.
    """
    inner, kv = model.heads * model.key_width, model.kv_heads * model.key_width
    wide = {"gate": (model.width, model.mlp_width), "up": (model.width, model.mlp_width)}
    return {
        "q": (model.width, inner), "k": (model.width, kv), "v": (model.width, kv),
        "o": (inner, model.width), **wide, "down": (model.mlp_width, model.width),
    }  # fmt: skip


def _find(folder: Path) -> Path:
    for place in _PLACES:
        if (folder / place / CONFIG).is_file():
            return folder / place
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; name one with an adapter saved by PEFT")
    held = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise UserError(f"{folder} holds no {CONFIG} (it holds {held}); name the folder that does")


def _read_config(path: Path) -> tuple[int, float]:
    """The rank, and the alpha for a scale of alpha / rank."""
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"{path}: peft_type is {shown(config.get('peft_type'))}; only LORA can be read"
        )
    try:
        rank = count(config, "r")
        alpha = number(config, "lora_alpha", None, 0, _LARGEST_ALPHA)
    except UserError as error:
        raise UserError(f"{path} is not the configuration of a LoRA adapter: {error}") from error
    for name, value in config.items():
        if _changes_the_adapter(name, value):
            raise UserError(
                f"{path}: {name}={shown(value)} has no counterpart in this model's adapters; merge "
                "the adapter into its base with peft's merge_and_unload() and import the result"
            )
    return rank, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _changes_the_adapter(name: str, value: Any) -> bool:
    if name == "init_lora_weights":
        return value not in _HARMLESS_STARTS
    if name == "bias":
        return value != "none"
    return bool(value) and name not in _NEUTRAL


def _read_tensors(place: Path) -> dict[str, np.ndarray]:
    for file in (place / SAFE, place / PICKLED):
        if file.is_file():
            found = shard.contents(file)
            return {name: _read_tensor(name, tensor) for name, tensor in found.items()}
    raise UserError(f"{place} holds neither {SAFE} nor {PICKLED}")


def _read_tensor(name: str, tensor: shard.Tensor) -> np.ndarray:
    file = tensor.file
    if tensor.dtype not in shard.FLOATS.values():
        raise UserError(
            f"{file}: {name} is of {tensor.dtype}, not of floats: it is quantised or no adapter; "
            "save the adapter in float32 or bfloat16"
        )
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        value = shard.read(name, file).astype(np.float32)
    return shard.check_finite(value, f"{file}: {name}")


def _by_projection(tensors: dict[str, np.ndarray], place: Path) -> Given:
    """Tensors by our projection and layer, whichever naming they use."""
    modules = {theirs: ours for ours, theirs in PROJECTIONS.items()}
    given: Given = {}
    for name, value in tensors.items():
        match = KEY.fullmatch(name)
        if match is None or match["module"] not in modules:
            raise UserError(
                f"{place}: {name} has no counterpart in this model, whose adapters are on "
                f"{', '.join(modules)} of the language model; train an adapter on these only"
            )
        pair = given.setdefault((modules[match["module"]], int(match["layer"])), {})
        if match["part"] in pair:
            raise UserError(f"{place}: {name} is stored for two adapters; keep one")
        pair[match["part"]] = value
    if not given:
        raise UserError(f"{place} holds no tensors; save the adapter again")
    return given


def _check_shapes(
    given: Given, shapes: dict[str, tuple[int, int]], layers: int, rank: int, place: Path
) -> None:
    order = list(shapes)
    for ours, layer in sorted(given, key=lambda place: (place[1], order.index(place[0]))):
        pair = given[ours, layer]
        module = f"model.layers.{layer}.{PROJECTIONS[ours]}"
        if layer >= layers:
            raise UserError(f"{place} adapts {module}; config.model.language.layers is {layers}")
        width_in, width_out = shapes[ours]
        for part, expected in {"A": (rank, width_in), "B": (width_out, rank)}.items():
            if part not in pair:
                raise UserError(f"{place}: {module}.lora_{part}.weight is missing")
            if pair[part].shape != expected:
                raise UserError(
                    f"{place}: {module}.lora_{part}.weight has shape {pair[part].shape}; this "
                    f"model and r={rank} need {expected}: it was trained on another base model, or "
                    "config.model.language is not its base's"
                )


def _stack(
    given: Given, ours: str, sizes: tuple[int, int, int, int], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Both halves for all layers; where none is given, as a fresh `LoRADense` initialises them."""
    layers, width_in, width_out, rank = sizes
    lora_b = np.zeros((layers, rank, width_out), np.float32)
    if all((ours, layer) in given for layer in range(layers)):
        lora_a = np.empty((layers, width_in, rank), np.float32)
    else:
        lora_a = rng.standard_normal((layers, width_in, rank), np.float32) * width_in**-0.5
    for layer in range(layers):
        if pair := given.get((ours, layer)):
            lora_a[layer], lora_b[layer] = pair["A"].T, pair["B"].T
    return {"lora_a": lora_a, "lora_b": lora_b}
