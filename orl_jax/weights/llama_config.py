"""`config.json` and `generation_config.json` of a language model, as transformers reads them.

The keys are those of transformers 5 (`rope_parameters`, `dtype`) and also those of version 4 and
other readers (`rope_theta`, `rope_scaling`, `torch_dtype`).
"""

from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from orl_jax.data.text.banned import banned_ids
from orl_jax.models.llama import Llama

_POSITIONS = 2048  # rotary positions have no limit, but readers of the file require one


def llama_config(
    model: Llama, dtype: np.dtype, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """The fields of `LlamaConfig`.

    Args:
      model: gives the shapes, the norm's epsilon and the rotary positions.
      dtype: of the weights when they are loaded.
      tokenizer: gives the ids of the special tokens.

    Example: `llama_config(model, np.dtype("float32"), tokenizer)["hidden_size"] == model.width`.
    """
    rope = rope_parameters(model)
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocabulary,
        "hidden_size": model.width,
        "intermediate_size": model.mlp_width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.key_width,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": model.norm_epsilon,
        "max_position_embeddings": _positions(model),
        "rope_parameters": rope,
        "rope_theta": model.rope_base,
        "rope_scaling": None if rope["rope_type"] == "default" else scaling,
        "tie_word_embeddings": model.tied,
        "initializer_range": model.embedding_std,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": dtype.name,
        "torch_dtype": dtype.name,
        "use_cache": True,
    }


def rope_parameters(model: Llama) -> dict[str, Any]:
    """Base and scaling of the rotary positions, under the names that transformers uses.

    Example: `{"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}`.
    """
    base = {"rope_theta": model.rope_base}
    if model.rope_scaling == "none":
        return {"rope_type": "default", **base}
    scaled = {"rope_type": model.rope_scaling, **base, "factor": model.rope_factor}
    if model.rope_scaling == "linear":
        return scaled
    return {
        **scaled,
        "low_freq_factor": model.rope_low_frequency,
        "high_freq_factor": model.rope_high_frequency,
        "original_max_position_embeddings": model.rope_original_length,
    }


def generation_config(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """How to sample: up to the end token, without the tokens that are also banned in training.

    Their rows of the embedding were never trained (`orl_jax.data.text.prompt_encoder`).
    """
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return {**special, "suppress_tokens": np.flatnonzero(banned_ids(tokenizer)).tolist()}


def _positions(model: Llama) -> int:
    if model.rope_scaling == "llama3":
        return int(model.rope_factor * model.rope_original_length)
    return _POSITIONS
