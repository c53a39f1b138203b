"""Tiny models of `transformers`, also as our checkpoints, for the tests of the export."""

import pathlib
import runpy
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from orl_jax.data.text.tokenizer import build_word_tokenizer, load_tokenizer
from orl_jax.models.llama import Llama
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.weights import names

ROOT = pathlib.Path(__file__).parents[2]
RANK, ALPHA, LAYERS = 2, 3.0, 2
IDS = np.array([[4, 9, 5, 1, 7, 2, 8, 3, 6, 9, 9, 4], [7, 7, 4, 0, 6, 8, 1, 2, 3, 5, 6, 7]])
# What differs between the models: in their settings, in ours.
FAMILIES = {
    "plain": ({}, {}),
    "grouped": (
        {"num_key_value_heads": 2, "head_dim": 6}, {"kv_heads": 2, "head_width": 6},
    ),
    "tied": ({"tie_word_embeddings": True}, {"tied": True}),
    "linear": (
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}},
        {"rope_scaling": "linear", "rope_factor": 3.0},
    ),
    # Wavelengths of a head of width 4: 6 and 63 tokens; one is blended, one fully scaled.
    "llama3": (
        {"rope_parameters": {
            "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8,
        }},
        {
            "rope_scaling": "llama3", "rope_factor": 4.0, "rope_low_frequency": 1.0,
            "rope_high_frequency": 4.0, "rope_original_length": 8,
        },
    ),
}  # fmt: skip


def save_tokenizer(folder: pathlib.Path) -> int:
    """Saves a tokenizer of a few words; returns its number of tokens."""
    build_word_tokenizer(["Which circle is red?", "The left one."]).save_pretrained(str(folder))
    return len(load_tokenizer(folder))


def hub_llama(vocabulary: int, family: str = "plain") -> Any:
    """A `LlamaForCausalLM` with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 20,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "rms_norm_eps": 1e-3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    }  # fmt: skip
    return randomise(LlamaForCausalLM(LlamaConfig(**(settings | FAMILIES[family][0]))))


def randomise(model: Any, scale: float = 0.3) -> Any:
    """Draws all parameters at random, including those of adapters and norms."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=scale, generator=generator)
    return model.eval()


def hub_logits(model: Any) -> np.ndarray:
    """Their logits of the tokens `IDS`."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits.float().numpy()


def our_language(family: str = "plain") -> dict[str, Any]:
    """`config.model.language` of `hub_llama`."""
    settings = {
        "width": 16, "layers": LAYERS, "heads": 4, "kv_heads": 4, "mlp_width": 20,
        "rope_base": 100.0, "norm_epsilon": 1e-3,
    }  # fmt: skip
    return settings | FAMILIES[family][1]


def our_params(model: Any) -> dict[str, Any]:
    """The parameters of a `LlamaForCausalLM` under our names."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}

    def read(row: names.Row) -> np.ndarray:
        tensors = [state[row.name(layer)] for layer in range(LAYERS if row.stacked else 1)]
        tensors = [value.T if row.form == "transpose" else value for value in tensors]
        return np.stack(tensors) if row.stacked else tensors[0]

    table = names.llama(tied=model.config.tie_word_embeddings)
    return unflatten_dict({row.ours: read(row) for row in table.rows}, sep="/")


def with_adapters(params: dict[str, Any]) -> dict[str, Any]:
    """The same parameters with random adapters on all projections."""
    rng = np.random.default_rng(1)
    layers = dict(params["language"]["layers"])
    for name in names.PROJECTIONS:
        kernel = layers[name]["kernel"]
        shapes = {"lora_a": (kernel.shape[1], RANK), "lora_b": (RANK, kernel.shape[2])}
        drawn = {
            part: rng.normal(scale=0.3, size=(LAYERS, *shape)).astype(np.float32)
            for part, shape in shapes.items()
        }
        layers[name] = {"kernel": kernel, **drawn}
    return {**params, "language": {**params["language"], "layers": layers}}


def our_logits(
    params: dict[str, Any], family: str = "plain", rank: int = RANK, alpha: float = ALPHA
) -> np.ndarray:
    """Our logits of the tokens `IDS`."""
    vocabulary = params["language"]["embedding"].shape[0]
    model = Llama(vocabulary, lora_rank=rank, lora_alpha=alpha, **our_language(family))

    def logits(model: Llama) -> jax.Array:
        ids = jnp.asarray(IDS)[:, None]
        positions = jnp.broadcast_to(jnp.arange(ids.shape[-1]), ids.shape)
        hidden, _ = model(model.embed(ids), positions, jnp.ones(ids.shape, bool))
        return hidden[:, 0] @ model.vocabulary_kernel()

    tree = jax.tree.map(jnp.asarray, {"params": params["language"]})
    return np.asarray(jax.jit(partial(model.apply, method=logits))(tree))


def save_checkpoint(
    workdir: pathlib.Path,
    params: dict[str, Any],
    tokenizer: pathlib.Path,
    *,
    family: str = "plain",
    stage: str = "rl",
    base: str = "",
) -> pathlib.Path:
    """Saves `params` as the checkpoint of a stage at step 7."""
    config = runpy.run_path(str(ROOT / "configs" / "demo.py"))["get_config"]("tiny").to_dict()
    config["data"] |= {"folder": "nowhere", "tokenizer": str(tokenizer)}
    model = config["model"]
    model["language"] |= our_language(family)
    model["adapter"]["name"] = "pool"
    model["lora"] = {"rank": RANK, "alpha": ALPHA}
    with Checkpoints(str(workdir), stage) as checkpoints:
        checkpoints.save(7, {"trained": params}, {"config": config, "base": base})
    return workdir / "checkpoints" / stage
