"""Imports other libraries' weights into a checkpoint of ours: WORKDIR/checkpoints/imported/0.

Local Hugging Face folders of LLaMA, CLIP and a Q-Former, or of a whole LLaVA, become parameters
under our names, converted one tensor at a time, together with their configuration and tokenizer.
Stages start from it as from any checkpoint (`sft.init_from`) and initialise at random what no
folder holds.
"""

import itertools
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from orl_jax.data.text.prompt import IMAGE_TOKEN
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import load_tokenizer
from orl_jax.data.text.tokenizer_digest import digest
from orl_jax.models.params import flatten
from orl_jax.models.sequences import Prompt
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.run import config as rules
from orl_jax.run.checkpoint import Location
from orl_jax.run.errors import UserError
from orl_jax.weights.matching import Match, Target, arrays, grouped, match
from orl_jax.weights.parts import Parts, find_parts, missing_parts
from orl_jax.weights.peft import PeftAdapter, read_peft
from orl_jax.weights.streaming import Streamed, save

STAGE = "imported"
TOKENIZER = "tokenizer"  # of the workdir
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}


def import_weights(config: ConfigDict, workdir: str) -> Location:
    """Imports the folders of `config.weights`; a failed import leaves nothing behind.

    Args:
      config: see `configs/imported.py`. The folders' settings replace its `model` and `data` keys.
      workdir: gets `checkpoints/imported/0`, `tokenizer`, `config.json`.

    Returns:
      Where the checkpoint is.

    Raises:
      UserError: an import already exists; a folder is missing or damaged, holds a model that is not
        supported, or does not fit the model: all tensors that don't are named.

    Example: `import_weights(config, "runs/llama2").path`.
    """
    place = Location(workdir, STAGE, 0)
    _check(config, place)
    parts = find_parts(config.weights, config.model.vision.select_layer)
    config = resolve(config, parts, workdir)
    settings, adapters = VlmSettings.from_config(config), {}
    if config.weights.peft:
        adapter = _read_adapter(config.weights.peft, parts, settings, config.seed)
        config = with_lora(config, adapter.rank, adapter.alpha)
        adapters = {path: _whole(value) for path, value in flatten(adapter.params).items()}
    tokenizer = load_tokenizer(parts.tokenizer) if parts.tokenizer else None
    if tokenizer is not None:
        lengths = (config.data.prompt_tokens, config.data.response_tokens)
        PromptEncoder(tokenizer, settings.visual_tokens, *lengths).encode_prompt(
            ""
        )  # fits, or raises
    shapes = model_shapes(settings, 1 if tokenizer is None else len(tokenizer))
    target = Target(shapes, DTYPES[config.weights.dtype], _may_lack(tokenizer))
    found = match(parts.sources, target)
    _log_plan(found, parts)
    with tqdm(total=found.tensors, desc="import", unit="tensor", dynamic_ncols=True) as bar:
        params = arrays(parts.sources, target, bar.update) | adapters
        _write(place, params, config, tokenizer)
    return place


def resolve(config: ConfigDict, parts: Parts, workdir: str) -> ConfigDict:
    """A copy of the config with the folders' settings and the future place of the tokenizer.

    Raises:
      UserError: a rule of `orl_jax.run.config` is broken.
    """
    out = config.copy_and_resolve_references().unlock()
    for section, values in parts.model.items():
        out.model[section].update(values)
    for section in ("vision", "adapter", "language"):
        out.model[section].dtype = config.weights.dtype
    out.data.update(parts.data)
    if parts.tokenizer:
        out.data.tokenizer = os.path.join(workdir, TOKENIZER)
    rules.validate(out)
    return out.lock()


def with_lora(config: ConfigDict, rank: int, alpha: float) -> ConfigDict:
    """A copy of the config whose LoRA adapters have this rank and alpha."""
    out = config.copy_and_resolve_references().unlock()
    out.model.lora.update(rank=rank, alpha=float(alpha))
    return out.lock()


def _read_adapter(folder: str, parts: Parts, settings: VlmSettings, seed: int) -> PeftAdapter:
    """The adapter in `weights.peft`, for the imported language model."""
    if "language" in missing_parts(parts):
        raise UserError(
            "config.weights.peft adapts a language model; name its folder, "
            "--config.weights.language=DIR"
        )
    model = settings.build(vocabulary=1, image_id=0, lora=False)
    return read_peft(folder, model.language, seed=seed)


def _whole(value: np.ndarray) -> Streamed:
    """An adapter's array in one piece, in float32 because adapters are trained."""
    value = np.asarray(value, np.float32)
    return Streamed(value.shape, value.dtype, lambda: iter([value]))


def model_shapes(settings: VlmSettings, vocabulary: int) -> dict[str, Any]:
    """Our parameters without adapters, as shapes by path. Nothing is allocated.

    Args:
      settings: of the model; its kernels are taken whole, as in folders (stages quantise later).
      vocabulary: number of rows of the embeddings.

    Example: `model_shapes(settings, 32002)["language/embedding"].shape` is (32002, 4096).
    """
    model = settings.quantised("none").build(vocabulary=vocabulary, image_id=0, lora=False)
    size, count = settings.vision.image_size, settings.adapter.frames
    frames = jax.ShapeDtypeStruct((1, count, size, size, 3), jnp.uint8)
    prompt = Prompt(*(jax.ShapeDtypeStruct((1, 2), dtype) for dtype in (jnp.int32, bool)))
    return flatten(jax.eval_shape(model.init, jax.random.key(0), frames, prompt)["params"])


def _check(config: ConfigDict, place: Location) -> None:
    if "weights" not in config:
        raise UserError("this config has no section weights; use --config=configs/imported.py")
    dtype = config.weights.dtype
    if dtype not in DTYPES:
        why = ": it underflows in training" if dtype == "float16" else ""
        raise UserError(
            f"config.weights.dtype is {dtype!r}{why}; choose one of {', '.join(DTYPES)} "
            "(weights in float16 are converted)"
        )
    if place.path.exists():
        raise UserError(
            f"{place.path} already exists; delete {place.path.parent}, or choose another --workdir"
        )


def _may_lack(tokenizer: PreTrainedTokenizerBase | None) -> int:
    """Number of ids at the end that are <pad> or <image>; the folder's model may lack these."""
    if tokenizer is None:
        return 0
    own = {tokenizer.pad_token_id, tokenizer.get_vocab()[IMAGE_TOKEN]}
    ids = reversed(range(len(tokenizer)))
    return sum(1 for _ in itertools.takewhile(own.__contains__, ids))


def _log_plan(found: Match, parts: Parts) -> None:
    """Logs what will be in the checkpoint, and what will not."""
    for source in parts.sources:
        logging.info("%s holds %d tensors", source.folder.path, len(source.folder.tensors))
    logging.info("reading %d tensors", found.tensors)
    for note in found.notes:
        logging.info("%s", note)
    if found.unused:
        some = ", ".join(grouped(found.unused)[:4])
        logging.info("%d tensors are unused by design: %s, ...", len(found.unused), some)
    if fresh := [*found.fresh, *missing_parts(parts)]:
        logging.info("in no folder, so initialised at random in training: %s", ", ".join(fresh))
    if "vision" in missing_parts(parts):
        logging.warning(
            "no folder holds a vision encoder: a random one is useless, and sft.trainable "
            "freezes it; name one with --config.weights.vision=DIR"
        )


def _write(
    place: Location,
    params: dict[str, Streamed],
    config: ConfigDict,
    tokenizer: PreTrainedTokenizerBase | None,
) -> None:
    folder = Path(place.workdir) / TOKENIZER
    shutil.rmtree(place.path.parent, ignore_errors=True)  # left by an import that was killed
    try:
        if tokenizer is not None:
            _save_tokenizer(tokenizer, folder)
        known = {} if tokenizer is None else {"tokenizer": digest(tokenizer)}
        extra = {"config": config.to_dict(), "base": "", **known}
        save(place, unflatten_dict(params, sep="/"), extra)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    rules.write(config, place.workdir)


def _save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    for path in (partial, folder):
        shutil.rmtree(path, ignore_errors=True)
    tokenizer.save_pretrained(partial)
    os.replace(partial, folder)
