"""A local Hugging Face folder: its config.json and its tensors by name, each read when needed.

Weights are searched in the order of `transformers`: `model.safetensors`, an index with its shards
(`*.safetensors.index.json`), any single `*.safetensors`; then the same for `pytorch_model.bin`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from orl_jax.run import reading
from orl_jax.run.errors import UserError
from orl_jax.weights import shard
from orl_jax.weights.fields import shown
from orl_jax.weights.shard import Tensor

_NUMBERED = re.compile(r".+-\d+-of-\d+\.(safetensors|bin)")


class Folder:
    """Reads only names, shapes and config.json until a tensor is requested.

    Args:
      path: of the folder.

    Attributes:
      path: as `pathlib.Path`.
      config: the content of config.json.
      tensors: name to shape, type and file.

    Raises:
      UserError: no folder, no config.json, no weights; a missing or truncated shard; shards without
        their index; an index that lists tensors which its shards lack.

    Example: `Folder("llama-2-7b").read("model.norm.weight").shape` is (4096,).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"there is no folder {self.path}; name a local Hugging Face folder")
        self.config = read_json(self.path / "config.json")
        self.tensors = _find_tensors(self.path)

    def read(self, name: str) -> np.ndarray:
        """Reads a tensor from its file.

        Raises:
          UserError: the file cannot be read.
        """
        return shard.read(name, self.tensors[name].file)


def _find_tensors(path: Path) -> dict[str, Tensor]:
    for usual, kind, files in (
        ("model", "safetensors", "*.safetensors"),
        ("pytorch_model", "bin", "pytorch_model*.bin"),
    ):
        if (path / f"{usual}.{kind}").is_file():
            return shard.contents(path / f"{usual}.{kind}")
        if indices := sorted(path.glob(f"*.{kind}.index.json")):
            return _indexed(indices)
        if found := sorted(path.glob(files)):
            return _single(found)
    held = sorted(file.name for file in path.iterdir())
    raise UserError(
        f"{path} holds no weights, neither *.safetensors nor pytorch_model*.bin; "
        f"it holds {_some(held)}"
    )


def _single(files: list[Path]) -> dict[str, Tensor]:
    """The tensors of the only file."""
    if any(_NUMBERED.fullmatch(file.name) for file in files):
        raise UserError(
            f"{files[0].parent} holds {files[0].name} and no *.index.json that says which tensor "
            "is in which shard; copy the index as well"
        )
    if len(files) > 1:
        raise UserError(
            f"{files[0].parent} holds {_some([file.name for file in files])} and no index; "
            "keep only one file, or copy the *.index.json"
        )
    return shard.contents(files[0])


def _indexed(indices: list[Path]) -> dict[str, Tensor]:
    """The tensors of all shards of an index."""
    if len(indices) > 1:
        raise UserError(
            f"{indices[0].parent} holds several indices, {_some([i.name for i in indices])}; "
            "keep only one"
        )
    places = read_json(indices[0]).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError(f"{indices[0]} has no weight_map; copy it again")
    for name in places.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(
                f"{indices[0]} lists a shard {shown(name)}, which is not a file name; copy the "
                "index again"
            )
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        found |= _shard_of(indices[0], name)
    if lost := [name for name, file in places.items() if not _is_in(found, name, file)]:
        raise UserError(f"{indices[0]} lists tensors that its shards lack: {_some(lost)}")
    return found


def _shard_of(index: Path, name: str) -> dict[str, Tensor]:
    file = index.with_name(name)
    if not file.is_file():
        raise UserError(f"{index} lists the shard {name}, which is missing; copy it as well")
    return shard.contents(file)


def _is_in(found: dict[str, Tensor], name: str, file: str) -> bool:
    return name in found and found[name].file.name == file


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
      UserError: no file; see also `orl_jax.run.reading.read_json`.
    """
    if not path.is_file():
        raise UserError(
            f"there is no {path}; name a Hugging Face folder, with config.json next to the weights"
        )
    return reading.read_json(path, "copy it again")


def _some(names: list[str]) -> str:
    """The first five names and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "nothing") + more
