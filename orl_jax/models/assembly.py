"""Puts a run's pieces together: tokenizer, model, parameters of earlier stages.

The one place in models/ that reads whole configs, for stages to call.
"""

import datetime
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Bool, PRNGKeyArray
from ml_collections import ConfigDict

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import load_tokenizer
from orl_jax.models.beginning import check_complete, check_tokenizer
from orl_jax.models.params import combine, flatten, missing, policy_of
from orl_jax.models.quantised import quantise_like
from orl_jax.models.sequences import Prompt
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.vlm import VLM
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.run.checkpoint import BASE, Checkpoints, Location, locate
from orl_jax.run.config import check_stored, from_json
from orl_jax.run.errors import UserError


class Assembly(NamedTuple):
    """The pieces of a run.

    Attributes:
      model: with or without adapters.
      encoder: of its prompts.
      layout: where its arrays live.
      param_dtype: of fresh frozen parameters.
    """

    model: VLM
    encoder: PromptEncoder
    layout: Layout
    param_dtype: str = "float32"


def assemble(config: ConfigDict, *, lora: bool) -> Assembly:
    """The model and the prompt encoder of a config.

    Args:
      config: reads `data`, `model`, `mesh`.
      lora: whether the language model has adapters.

    Raises:
      UserError: no data folder, no tokenizer where `config.data` says; a mesh that does not fit.
    """
    encoder, settings = load_encoder(config), VlmSettings.from_config(config)
    model = settings.build(vocabulary=encoder.vocabulary_size, image_id=encoder.image_id, lora=lora)
    return Assembly(model, encoder, Layout.of(dict(config.mesh)), settings.param_dtype)


def load_encoder(config: ConfigDict) -> PromptEncoder:
    """The prompt encoder of a config.

    Raises:
      UserError: no data folder, no tokenizer where `config.data` says.
    """
    if not config.data.tokenizer and not pathlib.Path(config.data.folder).is_dir():
        raise UserError(
            f"no data folder {config.data.folder}: run scripts/prepare_data.py first, or set "
            "config.data.folder to where it was written"
        )
    folder = config.data.tokenizer or pathlib.Path(config.data.folder) / "tokenizer"
    return PromptEncoder(
        load_tokenizer(folder),
        VlmSettings.from_config(config).visual_tokens,
        config.data.prompt_tokens,
        config.data.response_tokens,
    )


def initial_params(
    assembly: Assembly, seed: int, pretrained: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Parameters of the model, each where it lives on the mesh: `pretrained` ones where given,
    freshly drawn ones in the gaps.

    Pretrained parameters keep the type that they are stored in, except that kernels which the model
    holds quantised are quantised now; fresh ones have the type `assembly.param_dtype`. Only
    parameters that are used are drawn, and none is gathered on one device: a 7B checkpoint needs no
    second 7B of memory.

    Raises:
      UserError: a pretrained parameter does not fit the model, by name.
    """
    layout, key = assembly.layout, jax.random.key(seed)
    shapes = shapes_of_params(assembly.model, assembly.param_dtype)
    given = quantise_like(flatten(pretrained or {}), shapes)
    gaps = missing(unflatten_dict(shapes, sep="/"), unflatten_dict(given, sep="/"))
    fresh = {}
    if gaps:
        places = {path: layout.param(path, shapes[path].shape) for path in gaps}
        draw = partial(_draw_some, assembly.model, assembly.param_dtype, tuple(gaps))
        fresh = layout.jit(draw, out_shardings=places)(key)
    return combine(layout.place(unflatten_dict(given, sep="/")), fresh)


def draw_params(model: VLM, dtype: str, key: PRNGKeyArray) -> dict[str, Array]:
    """Fresh parameters by path. Codes keep their types; scales, which are few, stay float32."""
    size = model.vision.image_size
    frames = jnp.zeros((1, model.adapter.frames, size, size, 3), jnp.uint8)
    prompt = Prompt(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))  # of any length
    drawn = flatten(model.init(key, frames, prompt)["params"])
    return {
        path: value if path.endswith(("/codes", "/scales")) else value.astype(dtype)
        for path, value in drawn.items()
    }


def _draw_some(model: VLM, dtype: str, paths: Sequence[str], key: PRNGKeyArray) -> dict[str, Array]:
    """Some of `draw_params`; the others are compiled away."""
    traced, shapes = _traced_draw(model, dtype)
    drawn = dict(zip(sorted(shapes), jaxpr_as_fun(traced)(key), strict=True))
    return {path: drawn[path] for path in paths}


def shapes_of_params(model: VLM, dtype: str) -> dict[str, jax.ShapeDtypeStruct]:
    """What `draw_params` returns, without drawing; not to be changed."""
    return _traced_draw(model, dtype)[1]


@lru_cache(maxsize=8)
def _traced_draw(model: VLM, dtype: str) -> tuple[ClosedJaxpr, dict[str, jax.ShapeDtypeStruct]]:
    """`draw_params` as a program, and what it returns. Tracing the model takes seconds: once."""
    draw = partial(draw_params, model, dtype)
    return jax.make_jaxpr(draw, return_shape=True)(jax.random.key(0))


def stored_config(
    path: str | os.PathLike[str], mesh: Mapping[str, int] | None = None
) -> ConfigDict:
    """The configuration that a checkpoint was trained with.

    Args:
      path: WORKDIR/checkpoints/STAGE[/STEP].
      mesh: sizes of the mesh to use in place of the checkpoint's, which fits the machine that it
        was trained on; by default all devices are along `data`.

    Raises:
      UserError: the checkpoint is missing or unreadable, or its configuration was edited.
    """
    place = locate(os.fspath(path))
    extra = stored_extra(place)
    if not isinstance(extra.get("config"), dict):
        raise UserError(f"{place.path} holds no configuration; restore it from a copy")
    here = dict(mesh) if mesh else {"data": -1, "fsdp": 1, "tensor": 1}
    config = from_json(json.dumps({**extra["config"], "mesh": here}))
    check_stored(config, str(place.path))
    return config


def stored_extra(place: Location) -> dict[str, Any]:
    """What a checkpoint holds next to its arrays: its config, its base, its seconds."""
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        return checkpoints.restore_extra(place.step)


def load_params(path: str | os.PathLike[str], layout: Layout | None = None) -> dict[str, Any]:
    """All parameters of a checkpoint: those its stage trained, over those that it started from.

    Args:
      path: WORKDIR/checkpoints/STAGE[/STEP].
      layout: where they live; each device reads its own shard. Without one, numpy arrays.

    Raises:
      UserError: the checkpoint, or one that it builds on, is missing or unreadable.

    Example: `load_params("runs/demo/checkpoints/rl")["language"]["lm_head"].shape`.
    """
    place = locate(os.fspath(path))
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        extra = checkpoints.restore_extra(place.step)
        where = None if layout is None else layout.param
        trained = policy_of(checkpoints.restore_part("trained", place.step, where))
    if not extra.get("base"):
        return trained
    return combine(load_params(base_of(place, extra), layout), trained)


def base_of(place: Location, extra: Mapping[str, Any]) -> str:
    """The checkpoint that another one, with its extra, began from: still that one.

    Raises:
      UserError: it is missing, or another one is in its place.
    """
    base = resolve_base(place.workdir, extra["base"])
    if not os.path.isdir(base):
        steps = [each for each in _listed(os.path.dirname(base)) if each.isdigit()]
        raise UserError(
            f"{place.path} holds only what its stage trained, on top of {base}, which is missing "
            f"(steps there: {', '.join(sorted(steps, key=int)) or 'none'}); put that checkpoint "
            "back, or name another one"
        )
    before, now = extra.get(BASE), locate(base).identity
    if before and before != now:
        raise UserError(
            f"{place.path} holds only what its stage trained, on top of {base}, and another "
            f"checkpoint is there now, of {_when(now)} instead of {_when(before)}; put the former "
            "back, or train this stage again"
        )
    return base


def _when(identity: Mapping[str, Any]) -> str:
    stamp = datetime.datetime.fromtimestamp(identity["stamp"] / 1e9)
    return f"{stamp:%Y-%m-%d %H:%M:%S}"


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def restore(config: ConfigDict, path: str | os.PathLike[str]) -> tuple[Assembly, dict[str, Any]]:
    """The model with the parameters of a checkpoint; it has adapters if the checkpoint has.

    Raises:
      UserError: the checkpoint is missing or unreadable, does not fit the config, or is of a stage
        that holds no whole model.
    """
    pretrained = load_params(path, Layout.of(dict(config.mesh)))
    check_complete(pretrained, path)
    assembly = assemble(config, lora=any("/lora_" in name for name in flatten(pretrained)))
    check_tokenizer(pretrained, path, assembly.encoder)
    return assembly, initial_params(assembly, config.seed, pretrained)


def load_policy(path: str | os.PathLike[str], assembly: Assembly) -> dict[str, Any]:
    """The parameters of a checkpoint that answers with the assembly's tokenizer; see `load_params`.

    Raises:
      UserError: it is missing or unreadable, is of a part of the model, scores answers, or was
        trained with another tokenizer.
    """
    params = load_params(path, assembly.layout)
    check_complete(params, path)
    check_tokenizer(params, path, assembly.encoder)
    return params


def load_auxiliary(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Parameters that a stage trained next to the model, such as the "heads" of a reward model.

    Raises:
      UserError: the checkpoint is missing, or has no such parameters.
    """
    place = locate(os.fspath(path))
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        trained = checkpoints.restore_part("trained", place.step)
    if name not in trained:
        raise UserError(f"{path} holds no {name} parameters; name a checkpoint of another stage")
    return trained[name]


def base_reference(workdir: str | os.PathLike[str], path: str) -> str:
    """How a checkpoint names its base: relative to its workdir, so that runs can be moved."""
    place = locate(path)
    return os.path.relpath(place.path.absolute(), pathlib.Path(workdir).absolute())


def resolve_base(workdir: str | os.PathLike[str], reference: str) -> str:
    """The path that `base_reference` stands for."""
    return os.path.normpath(os.path.join(workdir, reference))


def banned_tokens(assembly: Assembly) -> Bool[Array, " V"]:
    """The encoder's banned ids, on the devices."""
    return assembly.layout.replicate(np.asarray(assembly.encoder.banned_ids))
