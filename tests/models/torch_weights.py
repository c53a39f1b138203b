"""Weights of `transformers` models under our names, for the parity tests.

Kernels are transposed, layers stacked on a leading axis. State dictionaries hold numpy arrays, see
`randomised`; names are those of transformers 5 (`CLIPVisionModel`, `Blip2QFormerModel`,
`InstructBlipQFormerModel`, `LlamaForCausalLM`) and of PEFT.
"""

from typing import Any

import jax
import numpy as np

State = dict[str, np.ndarray]

PROJECTIONS = {
    **{key: f"self_attn.{key}_proj" for key in "qkvo"},
    **{key: f"mlp.{key}_proj" for key in ("gate", "up", "down")},
}

# A small LLaMA by our names; `torch_llama` has the same sizes.
LLAMA = {
    "vocabulary": 11, "width": 16, "layers": 2, "heads": 4, "kv_heads": 2, "mlp_width": 20,
    "rope_base": 100.0, "norm_epsilon": 1e-3,
}  # fmt: skip


def torch_llama(*, rope: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A `LlamaForCausalLM` of the sizes of `LLAMA`; `rope` overrides `rope_parameters`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 11, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0} | (rope or {}),
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes)))


def randomised(model: Any, seed: int = 0, scale: float = 0.3) -> State:
    """Redraws all parameters of a torch model, including norms and biases, and returns them."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=scale, generator=generator)
    model.eval()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def vision(state: State, layers: int) -> dict[str, Any]:
    """Parameters of `ClipVision` from the first `layers` layers of a `CLIPVisionModel`."""
    patches = state["embeddings.patch_embedding.weight"]  # [D, 3, height, width]
    return {
        "class_embedding": state["embeddings.class_embedding"],
        "patch_embedding": {"kernel": patches.transpose(2, 3, 1, 0).reshape(-1, patches.shape[0])},
        "position_embedding": state["embeddings.position_embedding.weight"],
        "pre_norm": _norm(state, "pre_layrnorm"),
        "layers": _stack([_vision_layer(state, f"encoder.layers.{i}") for i in range(layers)]),
    }


def qformer(state: State, queries: np.ndarray, layers: int, frequency: int) -> dict[str, Any]:
    """Parameters of `QFormer` from a `Blip2QFormerModel` or `InstructBlipQFormerModel`.

    `queries` [Q, W] are an input there, a parameter here.
    """
    blocks = [_qformer_block(state, first, frequency) for first in range(0, layers, frequency)]
    norm = "layernorm" if "layernorm.weight" in state else "embeddings.layernorm"
    return {"queries": queries, "norm": _norm(state, norm), "layers": _stack(blocks)}


def llama(state: State, layers: int, tied: bool = False) -> dict[str, Any]:
    """Parameters of `Llama` without adapters, from a `LlamaForCausalLM`; tied, no head."""
    head = {} if tied else {"lm_head": state["lm_head.weight"].T}
    return {
        "embedding": state["model.embed_tokens.weight"],
        "layers": _stack([_llama_layer(state, f"model.layers.{i}") for i in range(layers)]),
        "norm": _norm(state, "model.norm"),
        **head,
    }


def adapters(state: State, layers: int) -> dict[str, Any]:
    """The adapters `lora_a` [N, D_in, r], `lora_b` [N, r, D_out] of all projections, from PEFT's.

    `state` holds the parameters of a `PeftModel`, or their gradients, by name.
    """

    def of_layer(name: str) -> dict[str, Any]:
        return {
            ours: {
                f"lora_{half.lower()}": state[f"{name}.{theirs}.lora_{half}.default.weight"].T
                for half in "AB"
            }
            for ours, theirs in PROJECTIONS.items()
        }

    return _stack([of_layer(f"base_model.model.model.layers.{i}") for i in range(layers)])


def _vision_layer(state: State, name: str) -> dict[str, Any]:
    theirs = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
    return {
        "attention_norm": _norm(state, f"{name}.layer_norm1"),
        "attention": {ours: _dense(state, f"{name}.self_attn.{theirs[ours]}") for ours in theirs},
        "mlp_norm": _norm(state, f"{name}.layer_norm2"),
        "up": _dense(state, f"{name}.mlp.fc1"),
        "down": _dense(state, f"{name}.mlp.fc2"),
    }


def _qformer_block(state: State, first: int, frequency: int) -> dict[str, Any]:
    cross = f"encoder.layer.{first}.crossattention"
    block = {
        "cross_attention": _bert_attention(state, cross),
        "cross_norm": _norm(state, f"{cross}.output.LayerNorm"),
    }
    for index in range(frequency):
        name = f"encoder.layer.{first + index}"
        block |= {
            f"self_{index}_attention": _bert_attention(state, f"{name}.attention"),
            f"self_{index}_norm": _norm(state, f"{name}.attention.output.LayerNorm"),
            f"up_{index}": _dense(state, f"{name}.intermediate_query.dense"),
            f"down_{index}": _dense(state, f"{name}.output_query.dense"),
            f"mlp_norm_{index}": _norm(state, f"{name}.output_query.LayerNorm"),
        }
    return block


def _bert_attention(state: State, name: str) -> dict[str, Any]:
    theirs = {
        "q": "attention.query", "k": "attention.key", "v": "attention.value", "out": "output.dense",
    }  # fmt: skip
    return {ours: _dense(state, f"{name}.{theirs[ours]}") for ours in theirs}


def _llama_layer(state: State, name: str) -> dict[str, Any]:
    return {
        "attention_norm": _norm(state, f"{name}.input_layernorm"),
        "mlp_norm": _norm(state, f"{name}.post_attention_layernorm"),
        **{ours: _dense(state, f"{name}.{theirs}") for ours, theirs in PROJECTIONS.items()},
    }


def _dense(state: State, name: str) -> dict[str, np.ndarray]:
    bias = {"bias": state[f"{name}.bias"]} if f"{name}.bias" in state else {}
    return {"kernel": state[f"{name}.weight"].T, **bias}


def _norm(state: State, name: str) -> dict[str, np.ndarray]:
    bias = {"bias": state[f"{name}.bias"]} if f"{name}.bias" in state else {}
    return {"scale": state[f"{name}.weight"], **bias}


def _stack(trees: list[dict[str, Any]]) -> dict[str, Any]:
    return jax.tree.map(lambda *values: np.stack(values), *trees)
