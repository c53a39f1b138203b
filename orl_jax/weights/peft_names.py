"""PEFT's names: its files, its tensors, and the configuration of a LoRA adapter."""

import re
from collections.abc import Sequence
from typing import Any

from orl_jax.weights.names import PROJECTIONS

CONFIG, SAFE, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."

# With or without the adapter's name ("default") before ".weight": both occur.
KEY = re.compile(
    r"(?:base_model\.model\.)?model\.layers\.(?P<layer>\d{1,6})\.(?P<module>(?:self_attn|mlp)\.\w+)"
    r"\.lora_(?P<part>[AB])(?:\.\w+)?\.weight"
)


def peft_name(ours: str, layer: int, part: str) -> str:
    """The name of a parameter's tensor.

    Example: `peft_name("q", 0, "lora_a")` is
      "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".
    """
    half = {"lora_a": "lora_A", "lora_b": "lora_B"}[part]
    return f"{PREFIX}model.layers.{layer}.{PROJECTIONS[ours]}.{half}.weight"


def peft_config(projections: Sequence[str], rank: int, alpha: float, base: str) -> dict[str, Any]:
    """The content of adapter_config.json for our adapters.

    Args:
      projections: keys of `PROJECTIONS`.
      rank, alpha: of `config.model.lora`.
      base: name or folder of the base model; "" leaves it to the reader.

    Example: `peft_config(["q"], 8, 16.0, "")["target_modules"] == ["q_proj"]`.
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "lora_dropout": 0.0,
        "target_modules": [PROJECTIONS[name].rpartition(".")[2] for name in projections],
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }
