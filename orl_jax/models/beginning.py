"""Whether a stage, or an evaluation, can begin from a checkpoint: its parts, its tokenizer."""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import load_tokenizer
from orl_jax.data.text.tokenizer_digest import digest
from orl_jax.models.params import flatten
from orl_jax.run.checkpoint import Checkpoints, locate
from orl_jax.run.errors import UserError

SCORING = ("oracle", "reward")  # stages whose models judge answers


def check_complete(params: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuses the parameters of a stage that trains only a part of the model, or scores answers.

    Raises:
      UserError: `params`, of the checkpoint `path`, are not those of a whole model that answers.
    """
    if locate(os.fspath(path)).stage in SCORING:
        raise UserError(
            f"{path} scores answers and cannot answer; name a checkpoint of the stage sft, "
            "rl or imported"
        )
    if missing := {"vision", "adapter", "language"} - set(params):
        raise UserError(
            f"{path} holds no {', '.join(sorted(missing))} parameters, so it cannot answer; "
            "name a checkpoint of the sft or rl stage"
        )


def check_tokenizer(
    params: Mapping[str, Any], path: str | os.PathLike[str], encoder: PromptEncoder
) -> None:
    """Refuses a tokenizer that is not the one that a checkpoint was trained with.

    Ids would mean other words: with as many tokens nothing else would fail, and training would
    begin from nonsense. Checkpoints without a language model, and earlier ones whose tokenizer is
    no longer there, are taken as they are.

    Args:
      params: of the checkpoint.
      path: of the checkpoint.
      encoder: with the tokenizer to use.

    Raises:
      UserError: names both.
    """
    if "language" not in params:
        return
    rows, folder = params["language"]["embedding"].shape[0], encoder.tokenizer.name_or_path
    stored, place = stored_tokenizer(os.fspath(path), folder)
    remedy = f"set config.data.tokenizer to that of the checkpoint{f', {place}' if place else ''}"
    if rows != encoder.vocabulary_size:
        raise UserError(
            f"{path} was trained with a tokenizer of {rows} tokens, and {folder} has "
            f"{encoder.vocabulary_size}; {remedy}"
        )
    if stored and stored != encoder.digest:
        raise UserError(
            f"{path} was trained with another tokenizer (digest {stored}) than {folder} (digest "
            f"{encoder.digest}): they have equally many tokens with other meanings; {remedy}"
        )


def stored_tokenizer(path: str, folder: str) -> tuple[str, str]:
    """The digest of a checkpoint's tokenizer and where it was; "" for what is not known.

    Earlier versions kept no digest; their tokenizer is then read where it was, unless that is the
    `folder` to compare with.
    """
    extra = _extra(path)
    data = extra["config"].get("data") or {}
    place = data.get("tokenizer") or str(pathlib.Path(data.get("folder", "")) / "tokenizer")
    if extra.get("tokenizer"):
        return extra["tokenizer"], place
    try:
        same = os.path.realpath(place) == os.path.realpath(folder)
        return ("" if same else digest(load_tokenizer(place))), place
    except UserError:
        return "", ""


def check_saved(pretrained: Mapping[str, Any], frozen: Mapping[str, Any], section: str) -> None:
    """Refuses to freeze random parameters: no checkpoint would hold them.

    They would be drawn anew wherever the result is used, and a random encoder shows nothing.
    Fresh adapters may be frozen, as they change nothing.

    Args:
      pretrained: parameters that the stage begins from.
      frozen: what it does not train.
      section: of the config whose `trainable` freezes them.

    Raises:
      UserError: names the parts.
    """
    held = set(flatten(pretrained))
    fresh = [
        name for name in flatten(frozen)
        if "/lora_" not in name and re.sub("/(codes|scales)$", "/kernel", name) not in held
        and name not in held
    ]  # fmt: skip
    if fresh:
        parts = sorted({name.split("/")[0] for name in fresh})
        raise UserError(
            f"no checkpoint holds {fresh[0]} and {len(fresh) - 1} more parameters of "
            f"{', '.join(parts)}, and config.{section}.trainable freezes them: they would stay "
            f"random and be in no checkpoint, so the result could not be used. Set "
            f"config.{section}.init_from to a checkpoint that has them (scripts/train_vision.py, "
            "or scripts/import_weights.py with --config.weights.vision), or let a rule train them"
        )


def _extra(path: str) -> dict[str, Any]:
    place = locate(path)
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        return checkpoints.restore_extra(place.step)
