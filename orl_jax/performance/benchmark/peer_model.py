"""A random LLaMA, made by transformers, that both sides of a comparison start from."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from orl_jax.data.text.tokenizer import build_word_tokenizer, load_tokenizer
from orl_jax.models.assembly import load_encoder, load_params
from orl_jax.performance.plan.shapes import Shapes
from orl_jax.run.errors import UserError
from orl_jax.weights.importing import import_weights

_LEAST = {"group": 2, "prompt": 10}  # others: 1; a prompt has words around its question
ROPE_BASE = 1e6  # the only one that Tunix 0.1.7 supports, whatever its configuration says


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the model and of a step; the head width is 64.

    Attributes:
      vocabulary: number of tokens, including special ones.
      prompts, group, prompt, response: B, G, L and T.
      rank: of LoRA on all seven projections; alpha is twice the rank.
    """

    width: int = 512
    layers: int = 8
    mlp_width: int = 1408
    vocabulary: int = 8192
    prompts: int = 4
    group: int = 5
    prompt: int = 256
    response: int = 64
    rank: int = 16

    @property
    def heads(self) -> int:
        """Heads of width 64, or one where the model is narrower."""
        return max(self.width // 64, 1)

    @property
    def tokens(self) -> int:
        """Tokens of prompts and responses in a step; prompts count once per response."""
        return self.prompts * self.group * (self.prompt + self.response)

    @classmethod
    def parse(cls, text: str) -> "Sizes":
        """Sizes from "width=256,prompt=800"; the others keep their defaults.

        Raises:
          UserError: an unknown name, or a value that is not a whole number or too small.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        found = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            if name not in known or not value.isdigit():
                raise UserError(
                    f"{part!r} is not a size; write NAME=NUMBER, with NAME one of "
                    f"{', '.join(sorted(known))}"
                )
            if int(value) < (least := _LEAST.get(name, 1)):
                raise UserError(f"--sizes: {part} must be at least {least}")
            found[name] = int(value)
        return cls(**found)


def make_folder(folder: pathlib.Path, sizes: Sizes) -> pathlib.Path:
    """Writes a Hugging Face folder with random weights and a tokenizer with one token per word.

    Returns:
      The folder.

    Raises:
      UserError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"torch is needed to write the model ({error}): pip install -e '.[torch,peers]'"
        ) from error
    from transformers import LlamaConfig, LlamaForCausalLM

    _tokenizer(sizes.vocabulary).save_pretrained(str(folder))
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=sizes.width, intermediate_size=sizes.mlp_width,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        max_position_embeddings=sizes.prompt + sizes.response, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # Activations of magnitude 1 everywhere, so that a difference in any part would show.
        initializer_range=sizes.width**-0.5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: int) -> Any:
    """A tokenizer with this many tokens in all."""
    few = len(build_word_tokenizer([]))
    if vocabulary <= few:
        raise UserError(f"vocabulary={vocabulary}; it must be above {few}")
    return build_word_tokenizer([" ".join(f"w{i}" for i in range(vocabulary - few))])


def texts(folder: pathlib.Path, sizes: Sizes) -> tuple[list[str], np.ndarray]:
    """Prompts of random words, as texts and as ids [B, L] that start with `<s>`.

    Example: `texts(folder, Sizes())[1].shape == (4, 256)`.
    """
    tokenizer, rng = load_tokenizer(folder), np.random.default_rng(0)
    names = [word for word in tokenizer.get_vocab() if word.startswith("▁w")]
    rows = rng.choice(sorted(names), (sizes.prompts, sizes.prompt - 1))
    prompts = [" ".join(word.removeprefix("▁") for word in row) for row in rows]
    return prompts, np.array(tokenizer(prompts)["input_ids"], np.int32)


def import_folder(
    config: ConfigDict, folder: pathlib.Path, sizes: Sizes
) -> tuple[Shapes, dict[str, Any]]:
    """Imports the folder with `orl_jax.weights`: shapes of a text-only config, and parameters.

    Args:
      config: `configs/imported.py`, changed in place; its vision tower becomes as small as
        possible, because no prompt contains a video.
      folder: written by `make_folder`; the import is written next to it.
    """
    workdir = str(folder.parent / "imported")
    config.weights.update(language=str(folder), dtype="float32")
    _shrink_vision(config)
    config.data.update(prompt_tokens=sizes.prompt, response_tokens=sizes.response)
    config.model.lora.update(rank=sizes.rank, alpha=2.0 * sizes.rank)
    config.model.update(vocabulary_chunk=0)
    config.model.language.update(remat=False, unroll=sizes.layers)
    config.rl.update(
        algorithm="grpo", batch_size=sizes.prompts, group_size=sizes.group, micro_batch=0,
        max_response_tokens=sizes.response, trainable=((".*/lora_[ab]", "train"), (".*", "freeze")),
    )  # fmt: skip
    place = import_weights(config, workdir)
    config.model.language.update(_language(workdir))
    config.data.tokenizer = str(pathlib.Path(workdir) / "tokenizer")
    shapes = Shapes(config, load_encoder(config), jax.devices()[:1])
    return shapes, load_params(str(place.path), shapes.layout)


def _shrink_vision(config: ConfigDict) -> None:
    """Leaves one token of media per prompt, on one device."""
    config.data.update(frames=1, image_size=8)
    small = {"width": 8, "layers": 1, "heads": 1, "mlp_width": 8, "dtype": "float32"}
    config.model.vision.update(small | {"patch_size": 8, "select_layer": -1})
    config.model.adapter.update(small | {"queries": 1, "cross_frequency": 1})
    config.mesh.update(data=1, fsdp=1, tensor=1)


def _language(workdir: str) -> dict[str, Any]:
    """The settings that the import has read from the folder."""
    written = json.loads((pathlib.Path(workdir) / "config.json").read_text())
    return written["model"]["language"] | {"remat": False}
