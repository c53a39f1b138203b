"""Puts a run's pieces together: tokenizer, model, parameters of the stages before."""

import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from orl_jax.checkpoint import Checkpoints, locate
from orl_jax.data.tokenizer import PromptEncoder, load_tokenizer
from orl_jax.errors import UserError
from orl_jax.models.params import combine, flatten, missing
from orl_jax.models.vlm import VLM, build_vlm, visual_tokens
from orl_jax.training.state import policy_of


class Assembly(NamedTuple):
    """A model with the encoder of its prompts."""

    model: VLM
    encoder: PromptEncoder


def assemble(config: ConfigDict, *, lora: bool) -> Assembly:
    """The model and the prompt encoder of a config.

    Args:
      config: reads `data`, `model`.
      lora: whether the language model has adapters.

    Raises:
      UserError: no data folder, no tokenizer where `config.data` says.
    """
    if not config.data.tokenizer and not pathlib.Path(config.data.folder).is_dir():
        raise UserError(
            f"no data folder {config.data.folder}: run scripts/prepare_data.py first, or set "
            "config.data.folder to where it was written"
        )
    folder = config.data.tokenizer or pathlib.Path(config.data.folder) / "tokenizer"
    encoder = PromptEncoder(
        load_tokenizer(folder),
        visual_tokens(config),
        config.data.prompt_tokens,
        config.data.response_tokens,
    )
    model = build_vlm(
        config,
        vocabulary=encoder.vocabulary_size,
        image_id=encoder.image_id,
        lora_rank=config.model.lora.rank if lora else 0,
    )
    return Assembly(model, encoder)


def initial_params(
    config: ConfigDict, assembly: Assembly, seed: int, pretrained: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Parameters of the model: `pretrained` ones where given, freshly drawn ones in the gaps.

    Pretrained ones keep the type that they are stored in; fresh ones are float32. Nothing is drawn
    that is not used: a 7B checkpoint needs no second 7B of memory.

    Raises:
      UserError: a pretrained parameter does not fit the model, by name.
    """
    size = config.data.image_size
    frames = jnp.zeros((1, config.data.frames, size, size, 3), jnp.uint8)
    ids, mask = (jnp.asarray(array[None]) for array in assembly.encoder.encode_prompt(""))

    def init(key: jax.Array) -> dict[str, Any]:
        return flatten(assembly.model.init(key, frames, ids, mask)["params"])

    def init_gaps(key: jax.Array) -> dict[str, Any]:
        drawn = init(key)  # what is not returned is compiled away
        return {path: drawn[path] for path in gaps}

    key = jax.random.key(seed)
    gaps = missing(jax.eval_shape(init, key), pretrained or {})
    fresh = jax.jit(init_gaps)(key) if gaps else {}
    return combine(jax.tree.map(jnp.asarray, pretrained or {}), fresh)


def load_params(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All parameters that a checkpoint stands for: what its stage trained over what it began from.

    Args:
      path: WORKDIR/checkpoints/STAGE[/STEP].

    Raises:
      UserError: it, or a checkpoint that it builds on, is missing or unreadable.

    Example: `load_params("runs/demo/checkpoints/rl")["language"]["lm_head"].shape`.
    """
    place = locate(os.fspath(path))
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        extra = checkpoints.restore_extra(place.step)
        trained = policy_of(checkpoints.restore_part("trained", place.step))
    if not extra.get("base"):
        return trained
    return combine(load_params(resolve_base(place.workdir, extra["base"])), trained)


def restore(config: ConfigDict, path: str | os.PathLike[str]) -> tuple[Assembly, dict[str, Any]]:
    """The model with the parameters of a checkpoint; it has adapters where the checkpoint has.

    Raises:
      UserError: missing, unreadable, not of the config's shapes, or of a stage without a whole
        model.
    """
    pretrained = load_params(path)
    if missing := {"vision", "adapter", "language"} - set(pretrained):
        raise UserError(
            f"{path} holds no {', '.join(sorted(missing))} parameters, so it cannot answer; "
            "name a checkpoint of the sft or rl stage"
        )
    assembly = assemble(config, lora=any("/lora_" in name for name in flatten(pretrained)))
    return assembly, initial_params(config, assembly, config.seed, pretrained)


def load_auxiliary(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """What a stage trained beside the model, such as the "heads" of a reward model.

    Raises:
      UserError: the checkpoint is missing, or holds no such parameters.
    """
    place = locate(os.fspath(path))
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        trained = checkpoints.restore_part("trained", place.step)
    if name not in trained:
        raise UserError(f"{path} holds no {name} parameters; name a checkpoint of another stage")
    return trained[name]


def base_reference(workdir: str, path: str) -> str:
    """How a checkpoint names its base: relative to its workdir, so that runs can move."""
    place = locate(path)
    return os.path.relpath(place.path.absolute(), pathlib.Path(workdir).absolute())


def resolve_base(workdir: str, reference: str) -> str:
    """The path that `base_reference` stands for."""
    return os.path.normpath(os.path.join(workdir, reference))


def banned_tokens(encoder: PromptEncoder) -> jax.Array:
    """The encoder's banned ids on the device: bool [V]."""
    return jax.device_put(np.asarray(encoder.banned_ids))
