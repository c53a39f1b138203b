"""Writes safetensors files with one tensor in memory at a time.

The format (github.com/huggingface/safetensors): 8 bytes with the length of the header,
little-endian; the header in JSON, padded with spaces to a multiple of 8; the tensors, without gaps.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orl_jax.run.files import write_json

INDEX = "model.safetensors.index.json"
_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class NewTensor(NamedTuple):
    """A tensor to be written; `values()` makes it and is called once."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    values: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def write_file(
    path: str | os.PathLike[str],
    tensors: Iterable[NewTensor],
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes one file. Wider types come first, which aligns every tensor to the size of its type.

    Args:
      path: an existing file is replaced.
      tensors: float32, float16 or bfloat16, with different names.
      metadata: in addition to {"format": "pt"}, which transformers requires.

    Example: `write_file("a.safetensors", [NewTensor("a", x.shape, x.dtype, lambda: x)])`.
    """
    tensors = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": _TYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.size],
        }
        offset += tensor.size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors:
            values = np.ascontiguousarray(tensor.values(), tensor.dtype).reshape(-1)
            file.write(values.view(np.uint8).data)


def write_model(folder: str | os.PathLike[str], tensors: Iterable[NewTensor], limit: float) -> int:
    """Writes a model as transformers names it: `model.safetensors`, or several files and an index.

    Args:
      folder: must exist.
      tensors: see `write_file`; distributed over the files in this order.
      limit: bytes per file; a larger tensor has a file of its own.

    Returns:
      The number of files.

    Example: `write_model("out", tensors, 4e9) == 4` for 13.5 GB.
    """
    folder = Path(folder)
    shards = _distribute(tensors, limit)
    if len(shards) == 1:
        write_file(folder / "model.safetensors", shards[0])
        return 1
    places = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard)
        places |= {tensor.name: name for tensor in shard}
    total = sum(tensor.size for shard in shards for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    write_json(folder / INDEX, index)
    return len(shards)


def _distribute(tensors: Iterable[NewTensor], limit: float) -> Sequence[Sequence[NewTensor]]:
    shards: list[list[NewTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.size
    return shards
