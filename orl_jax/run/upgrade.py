"""Brings a configuration that an earlier version wrote up to date.

Checkpoints and workdirs keep the configuration that they were made with. A key that was added later
gets the value that equals the behaviour before it existed, which is not always today's default.
"""

import copy
from collections.abc import Mapping
from typing import Any

# Values are as in JSON: sequences are lists.
_QUANTISATION = {"quantisation": "none", "quantisation_block": 64}
_SERVER = {
    "address": "",
    "model": "",
    "key_variable": "OPENAI_API_KEY",
    "reply_tokens": 0,
    "concurrency": 8,
    "timeout": 60.0,
    "attempts": 5,
    "deadline": 300.0,
    "max_calls": 0,
    "max_tokens": 0,
    "cache": "",
    "cache_mb": 500.0,
}
_ORACLE = {
    "inner": "reference",
    "seed": 0,
    "members": [],
    "quorum": 1,
    "halt_above": 1.0,
    "pause_seconds": 30.0,
    "overlap": False,
    "lag": 0,
    "top_k": 1,
    "levels": 2,
    "delay_seconds": 1.0,
    "distortion": 1.0,
    "scales": [],
    "checkpoint": "",
    "tie_margin": 0.0,  # scores were tied only where they were equal
    "recorded": "",
    "served": {
        **_SERVER,
        "mode": "listwise",
        "shuffles": 1,
        "frames": 0,
        "frame_size": 224,
        "show_reference": False,
    },
    "embedding": {"model": "", "batch_size": 64, "near": "reference"},
}

_ADAM = {"rates": [], "beta1": 0.9, "beta2": 0.999}

# Keys that a section gets, if the configuration has that section.
ADDED: dict[str, dict[str, Any]] = {
    "data": {"framing": "crop", "cache_mb": 0, "features": ""},
    "model": {"param_dtype": "float32", "vocabulary_chunk": 0},
    "model.vision": {
        "activation": "quick_gelu",
        "norm_epsilon": 1e-5,
        "dtype": "float32",
        "frames_at_a_time": 0,
        **_QUANTISATION,
    },
    "model.adapter": {
        "norm_epsilon": 1e-12,
        "time_embedding": True,
        "feature_norm": True,
        "exact_gelu": False,
        "dtype": "float32",
        **_QUANTISATION,
    },
    "model.language": {
        "head_width": 0,
        "tied": False,
        "rope_scaling": "none",
        "rope_factor": 1.0,
        "rope_low_frequency": 1.0,
        "rope_high_frequency": 4.0,
        "rope_original_length": 8192,
        "dtype": "float32",
        **_QUANTISATION,
    },
    **{stage: dict(_ADAM) for stage in ("vision", "reward", "ranker")},
    "sft": {**_ADAM, "micro_batch": 0},
    "rl": {
        **_ADAM,
        "epochs": 0,
        "direct": {"loss": "dpo", "beta": 0.1},
        "truncated": "keep",
        "minibatches": 1,
        "clip_dual": 0.0,
        "importance_cap": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
    },
    "rl.advantage": {"predicted": "sum"},
    "monitors": {"paid_length": 0.0, "liked_length": 0.0},  # off
    "preferences": {"distractors": 0},
    "oracle": _ORACLE,
    "preferences.oracle": _ORACLE,
    "evaluation": {
        "max_items": 0,
        "stratify": "",
        "seed": 0,
        "choice": "letter",
        "subtitles": False,
        "prompt_tokens": 0,
        "response_tokens": 0,
    },
}

# Sections that a whole configuration gets; one with `data` counts as whole.
SECTIONS: dict[str, dict[str, Any]] = {
    "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
    "source": {
        "name": "shapes",
        "folder": "",
        "videos": "",
        "missing_videos": "keep",
        "validation_share": 0.05,
    },
    "judge": {**_SERVER, "asks": 2},
}


def upgrade(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with the keys that were added after it was written.

    Args:
      config: as in `config.json`; it may lack sections, and sections that it lacks stay away.

    Returns:
      The same tree with missing keys filled in; what it says is kept. An up-to-date configuration
      comes back as it is.

    Example: `upgrade({"rl": {"steps": 4}})["rl"]["epochs"] == 0`.
    """
    tree = copy.deepcopy(dict(config))
    if "data" in tree:
        _fill(tree, SECTIONS)
    for section, keys in ADDED.items():
        holder: Any = tree
        for name in section.split("."):
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            _fill(holder, keys)
    return tree


def _fill(tree: dict[str, Any], added: Mapping[str, Any]) -> None:
    for key, value in added.items():
        if key not in tree:
            tree[key] = copy.deepcopy(value)
        elif isinstance(value, Mapping) and isinstance(tree[key], dict):
            _fill(tree[key], value)
