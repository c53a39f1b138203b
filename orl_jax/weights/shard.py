"""One file of tensors: what it holds, and one tensor of it at a time.

`*.safetensors` are read with `safetensors`, `*.bin` (pickles of PyTorch) with `torch.load`, which
maps the file to memory and, with `weights_only=True`, builds tensors and runs no code of the file.
Either file is opened anew for every tensor, so that no more than that tensor stays in memory.
"""

import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from orl_jax.run.errors import UserError

# The letters of safetensors for the types that weights come in.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Tensor(NamedTuple):
    """A tensor that is not read yet: its shape, the name of its type, and its file."""

    shape: tuple[int, ...]
    dtype: str
    file: Path


def contents(file: Path) -> dict[str, Tensor]:
    """All tensors of a file by name; reads no data.

    Raises:
      UserError: truncated, damaged, a pickle that is more than tensors, or no PyTorch for a pickle.

    Example: `contents(Path("model.safetensors"))["model.norm.weight"].shape` is (4096,).
    """
    if file.suffix != ".safetensors":
        tensors = _load_pickle(file)
        return {
            name: Tensor(tuple(value.shape), str(value.dtype).removeprefix("torch."), file)
            for name, value in tensors.items()
        }
    try:
        with safe_open(file, "numpy") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {
                name: Tensor(
                    tuple(part.get_shape()), FLOATS.get(part.get_dtype(), part.get_dtype()), file
                )
                for name, part in parts.items()
            }
    except SafetensorError as error:
        raise _damaged(file, error) from error


def read(name: str, file: Path) -> np.ndarray:
    """One tensor; bfloat16 has the type of `ml_dtypes`.

    Raises:
      UserError: as `contents`.
      KeyError: the file has no such tensor.
    """
    if file.suffix != ".safetensors":
        return _to_numpy(_load_pickle(file)[name])
    try:
        with safe_open(file, "numpy") as opened:
            return opened.get_tensor(name)
    except SafetensorError as error:
        raise _damaged(file, error) from error


def _load_pickle(file: Path) -> dict[str, Any]:
    """Tensors of PyTorch that lie in the file until they are used."""
    try:
        import torch  # here, as only pickles need it
    except ImportError as error:
        raise UserError(
            f"{file} is a pickle of PyTorch, which is not installed: pip install torch==2.13.0, "
            "or take a folder with .safetensors files"
        ) from error
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _refused(file, error) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise _damaged(file, error) from error
    if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
        raise UserError(f"{file} is not a dict of tensors; take a folder with .safetensors files")
    return loaded


def _to_numpy(value: Any) -> np.ndarray:
    import torch

    if value.dtype == torch.bfloat16:  # which numpy lacks
        return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def _refused(file: Path, error: Exception) -> UserError:
    """For a pickle that would call something; PyTorch's own advice is to let it."""
    called = re.search(r"GLOBAL ([\w.]+)", str(error))
    what = f"calls {called[1]}" if called else "holds more than tensors"
    return UserError(
        f"{file} {what}: nothing in it was run, and it is not read; "
        "take a folder with .safetensors files"
    )


def _damaged(file: Path, error: Exception) -> UserError:
    """For a file that is shorter than it says, or something else altogether."""
    if "mmap can only be used" in str(error):
        return UserError(
            f"{file} is no zip file, as PyTorch writes them since 1.6: nothing in it was run, and "
            "it is not read; take a folder with .safetensors files"
        )
    reason = " ".join(str(error).split())[:160]
    return UserError(f"{file} is truncated or damaged ({reason}); copy it again")
