"""Which folder holds which part of the model: the settings and the table of tensors of each."""

from collections.abc import Mapping
from typing import NamedTuple

from orl_jax.run.errors import UserError
from orl_jax.weights import names, settings
from orl_jax.weights.folder import Folder
from orl_jax.weights.matching import Source
from orl_jax.weights.settings import Settings

# Names that identify a part, whatever their prefix.
_CLIP = "embeddings.class_embedding"
_QFORMER = "encoder.layer.0.crossattention.attention.query.weight"


class Parts(NamedTuple):
    """What the folders of `config.weights` contain.

    Attributes:
      sources: the folders with their tables.
      model: name of a section of `config.model` -> the keys that the folders determine.
      data: keys of `config.data` that the folders determine.
      tokenizer: the folder with the tokenizer, or "".
    """

    sources: list[Source]
    model: dict[str, Settings]
    data: Settings
    tokenizer: str


def find_parts(weights: Mapping[str, str], select_layer: int) -> Parts:
    """Opens the folders of `config.weights`.

    Args:
      weights: paths for `language`, `vision`, `adapter` and `llava`, or "".
      select_layer: the layer of CLIP to read, unless LLaVA's config.json names one.

    Raises:
      UserError: no folder at all, or two for one part; see also `Folder` and `settings`.

    Example: `find_parts({"language": "llama-2-7b", ...}, -2).model["language"]["width"] == 4096`.
    """
    given = {part: weights[part] for part in ("language", "vision", "adapter", "llava")}
    if not any(given.values()):
        raise UserError(
            "no folder is named; give for example --config.weights.language=DIR and "
            "--config.weights.vision=DIR, or --config.weights.llava=DIR"
        )
    if given["llava"] and (given["language"] or given["adapter"]):
        raise UserError(
            "config.weights.llava holds the language model and the adapter; "
            "leave config.weights.language and config.weights.adapter empty"
        )
    found = Parts([], {}, {}, given["llava"] or given["language"])
    for part, add in (
        ("llava", _add_llava), ("language", _add_language),
        ("vision", _add_vision), ("adapter", _add_qformer),
    ):  # fmt: skip
        if given[part]:
            folder = Folder(given[part])
            try:
                add(found, folder, found.model.get("vision", {}).get("select_layer", select_layer))
            except UserError as error:
                raise UserError(f"{folder.path}: {error}") from error
    if given["llava"] and "vision" in missing_parts(found):
        raise UserError(
            f"{given['llava']} holds no CLIP; name its folder, --config.weights.vision=DIR"
        )
    return found


def _add_llava(found: Parts, folder: Folder, _: int) -> None:
    read = settings.llava(folder.config)
    tower = _prefix(folder, _CLIP)
    found.model.update(
        language=read.language, vision=read.vision.settings, adapter={"name": "pool"}
    )
    found.data.update(image_size=read.vision.image_size, framing=read.framing)
    found.sources.append(Source(folder, names.llava(tower, tied=read.language["tied"])))


def _add_language(found: Parts, folder: Folder, _: int) -> None:
    found.model["language"] = settings.language(folder.config)
    table = names.llama(tied=found.model["language"]["tied"])
    found.sources.append(Source(folder, table))


def _add_vision(found: Parts, folder: Folder, select_layer: int) -> None:
    if any(row.ours.startswith("vision/") for source in found.sources for row in source.table.rows):
        raise UserError("config.weights.llava also holds CLIP; leave config.weights.vision empty")
    read = settings.vision(folder.config, select_layer)
    found.model["vision"] = read.settings
    found.data["image_size"] = read.image_size
    found.sources.append(Source(folder, names.clip_vision(_prefix(folder, _CLIP) or "")))


def _add_qformer(found: Parts, folder: Folder, _: int) -> None:
    found.model["adapter"] = read = settings.qformer(folder.config)
    prefix = _prefix(folder, _QFORMER) or ""
    norm = "embeddings.layernorm"
    if f"{prefix}{norm}.weight" not in folder.tensors:
        norm = "layernorm"
    queries = next((name for name in folder.tensors if name.endswith("query_tokens")), "")
    table = names.qformer(read["cross_frequency"], prefix=prefix, norm=norm, queries=queries)
    found.sources.append(Source(folder, table))


def _prefix(folder: Folder, name: str) -> str | None:
    """The prefix of a name in a folder, or None where no tensor ends in it."""
    found = next((full for full in folder.tensors if full.endswith(name)), None)
    return None if found is None else found.removesuffix(name)


def missing_parts(found: Parts) -> list[str]:
    """Parts of the model that are in no folder."""
    held = {row.ours.split("/")[0] for source in found.sources for row in source.table.rows}
    return [part for part in ("vision", "adapter", "language") if part not in held]
