"""Exports our checkpoints for other libraries.

merged   the language model with its LoRA adapters merged: a Hugging Face folder
base     the language model without its LoRA adapters: the base that a "peft" folder needs
peft     only the LoRA adapters: a PEFT folder
adapter  the module between vision tower and language model, under our own names
"""

import itertools
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orl_jax.data.text.tokenizer import load_tokenizer
from orl_jax.data.text.tokenizer_digest import digest
from orl_jax.models.assembly import load_params, stored_config
from orl_jax.models.beginning import stored_tokenizer
from orl_jax.models.llama import Llama
from orl_jax.models.params import Flat, flatten
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json
from orl_jax.weights import names
from orl_jax.weights.llama_config import generation_config, llama_config
from orl_jax.weights.peft_names import CONFIG, SAFE, peft_config, peft_name
from orl_jax.weights.writing import NewTensor, write_file, write_model

ADAPTER = "adapter.safetensors"


class Request(NamedTuple):
    """What to write.

    Attributes:
      form: one of `FORMS`.
      dtype: one of `orl_jax.run.rules.DTYPES`, or "" to keep the type of each parameter.
      base: name or folder of the base model, written to the configuration of the form "peft".
      tokenizer: its folder; "" takes the one that the checkpoint was trained with.
      shard_bytes: upper limit for each file of a language model.
    """

    form: str = "merged"
    dtype: str = ""
    base: str = ""
    tokenizer: str = ""
    shard_bytes: float = 4e9


class Source(NamedTuple):
    """A checkpoint, as far as an export needs it.

    Attributes:
      name: its path.
      language, adapter: the sections of `config.model`.
      lora_alpha: `config.model.lora.alpha`; 0 where the config has none.
      tokenizer: the folder of the tokenizer that it was trained with.
      params: all parameters by path.
    """

    name: str
    language: dict[str, Any]
    adapter: dict[str, Any]
    lora_alpha: float
    tokenizer: str
    params: Flat

    def parameter(self, path: str) -> np.ndarray:
        """One parameter.

        Raises:
          UserError: the checkpoint has no parameter of that name.
        """
        if path not in self.params:
            raise UserError(
                f"{self.name} holds no {path}; name a checkpoint of a whole model, from the stage "
                "sft or rl"
            )
        return self.params[path]


def export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    request: Request = Request(),  # noqa: B008
) -> Path:
    """Writes a checkpoint to a new folder, completely or not at all.

    The stored checkpoint is held in memory; converted tensors are made one at a time.

    Args:
      checkpoint: WORKDIR/checkpoints/STAGE[/STEP].
      output: must not exist, or be empty.
      request: what to write.

    Returns:
      The folder.

    Raises:
      UserError: not a checkpoint, or one of a stage that lacks the requested part; the output
        already exists; the tokenizer is not the model's.

    Example: `export("runs/demo/checkpoints/rl", "out", Request("peft"))`.
    """
    output = Path(output)
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise UserError(f"{output} already exists; name a new folder")
    source = _source(os.fspath(checkpoint))
    partial = output.absolute().with_name(f".{output.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _WRITERS[request.form](partial, source, request)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output


def _source(name: str) -> Source:
    """Loads a checkpoint."""
    config = stored_config(name)
    model, data = config.model, config.data
    return Source(
        name,
        language=model.language.to_dict(),
        adapter=model.adapter.to_dict(),
        lora_alpha=model.lora.alpha,
        tokenizer=data.tokenizer or str(Path(data.folder) / "tokenizer"),
        params=flatten(load_params(name)),
    )


def language_tensors(source: Source, *, merge: bool, dtype: str = "") -> Iterator[NewTensor]:
    """The language model under the names of `LlamaForCausalLM`, layer by layer.

    Args:
      source: the checkpoint.
      merge: whether to add each LoRA adapter to its kernel: W + alpha/rank A B, in float32.
      dtype: see `Request`.

    Raises:
      UserError: the checkpoint does not hold a whole language model.
    """
    table = names.llama(tied=language_model(source).tied)
    layers = source.parameter("language/layers/q/kernel").shape[0]
    for layer in (None, *range(layers)):
        for row in table.rows:
            if row.stacked == (layer is not None):
                yield _tensor(source, row, layer, merge, dtype)


def language_model(source: Source) -> Llama:
    """The language model of a checkpoint, for its shapes and settings."""
    vocabulary = source.parameter("language/embedding").shape[0]
    return Llama(vocabulary=vocabulary, **source.language)


def _tensor(
    source: Source, row: names.Row, layer: int | None, merge: bool, dtype: str
) -> NewTensor:
    stored = source.parameter(row.ours)
    shape = stored.shape if layer is None else stored.shape[1:]
    name = row.theirs if layer is None else row.name(layer)
    transposed = row.form == "transpose"

    def values() -> np.ndarray:
        value = stored if layer is None else stored[layer]
        if merge:
            value = _merged(source, row.ours, layer, value)
        return value.T if transposed else value

    return NewTensor(
        name, shape[::-1] if transposed else shape, np.dtype(dtype or stored.dtype), values
    )


def _merged(source: Source, path: str, layer: int | None, kernel: np.ndarray) -> np.ndarray:
    lora_a, lora_b = (
        source.params.get(path.removesuffix("kernel") + part) for part in ("lora_a", "lora_b")
    )
    if lora_a is None or lora_b is None:
        return kernel
    scale = np.float32(source.lora_alpha / lora_a.shape[-1])
    product = lora_a[layer].astype(np.float32) @ lora_b[layer].astype(np.float32)
    return kernel.astype(np.float32) + scale * product


def _write_language(folder: Path, source: Source, request: Request) -> None:
    model = language_model(source)
    tensors = list(language_tensors(source, merge=request.form == "merged", dtype=request.dtype))
    place = request.tokenizer or source.tokenizer
    tokenizer = load_tokenizer(place)
    if len(tokenizer) != model.vocabulary:
        raise UserError(
            f"the tokenizer in {place} has {len(tokenizer)} tokens and the model of {source.name} "
            f"{model.vocabulary}; give the tokenizer that it was trained with as --tokenizer"
        )
    widest = np.result_type(*{tensor.dtype for tensor in tensors})
    stored, own = stored_tokenizer(source.name, place)
    if stored and stored != digest(tokenizer):
        raise UserError(
            f"{source.name} was trained with another tokenizer than that in {place}, of as many "
            f"tokens with other meanings; give its own as --tokenizer{f', {own}' if own else ''}"
        )
    write_json(folder / "config.json", llama_config(model, widest, tokenizer))
    write_json(folder / "generation_config.json", generation_config(tokenizer))
    tokenizer.save_pretrained(str(folder))
    files = write_model(folder, tensors, request.shard_bytes)
    logging.info("%d tensors in %d file(s)", len(tensors), files)
    _log_omitted(source, "language/")


def _write_peft(folder: Path, source: Source, request: Request) -> None:
    projections = [p for p in names.PROJECTIONS if f"language/layers/{p}/lora_a" in source.params]
    if not projections:
        raise UserError(
            f"{source.name} has no LoRA adapters to write; --form=merged writes its language model"
        )
    rank = source.params[f"language/layers/{projections[0]}/lora_a"].shape[-1]
    config = peft_config(projections, rank, source.lora_alpha, request.base)
    write_json(folder / CONFIG, config)
    write_file(folder / SAFE, _peft_tensors(source, projections, request.dtype))
    logging.info(
        "adapters of rank %d on %s; --form=base writes their base model from this checkpoint",
        rank, ", ".join(projections),
    )  # fmt: skip
    _log_omitted(source, "language/")


def _peft_tensors(source: Source, projections: Sequence[str], dtype: str) -> Iterator[NewTensor]:
    for name, part in itertools.product(projections, ("lora_a", "lora_b")):
        stored = source.params[f"language/layers/{name}/{part}"]
        for layer, value in enumerate(stored):
            yield NewTensor(
                peft_name(name, layer, part), value.shape[::-1],
                np.dtype(dtype or stored.dtype), lambda value=value: value.T,
            )  # fmt: skip


def _write_adapter(folder: Path, source: Source, request: Request) -> None:
    tensors = [
        NewTensor(
            path, value.shape, np.dtype(request.dtype or value.dtype), lambda value=value: value
        )
        for path, value in source.params.items()
        if path.startswith("adapter/")
    ]
    if not tensors:
        raise UserError(f"{source.name} holds no parameters of an adapter; name another stage")
    settings = json.dumps(source.adapter)
    write_file(folder / ADAPTER, tensors, {"settings": settings})
    logging.info("%d tensors of the adapter between vision tower and model", len(tensors))
    _log_omitted(source, "adapter/")


def _log_omitted(source: Source, written: str) -> None:
    """Logs which modules of the checkpoint were not written."""
    sizes = Counter()
    for path, value in source.params.items():
        if not path.startswith(written):
            sizes[path.partition("/")[0]] += value.size
    for module, size in sizes.items():
        logging.info("%s (%d numbers) is not part of this form and was not written", module, size)


_WRITERS = {
    "merged": _write_language, "base": _write_language,
    "peft": _write_peft, "adapter": _write_adapter,
}  # fmt: skip
FORMS = tuple(_WRITERS)
