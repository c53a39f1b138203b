"""One file of tensors: its table of contents, and its tensors one at a time.

`*.safetensors` are read with `safetensors`, `*.bin` (PyTorch pickles) with `torch.load`, which maps
the file to memory and, with `weights_only=True`, builds tensors and runs no code from the file.
The file is opened again for every tensor, so that only that tensor stays in memory.
"""

import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from orl_jax.run.errors import UserError

# The names that safetensors uses for floating-point types.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Tensor(NamedTuple):
    """A tensor that has not been read yet: its shape, the name of its type, and its file."""

    shape: tuple[int, ...]
    dtype: str
    file: Path


def contents(file: Path) -> dict[str, Tensor]:
    """All tensors of a file by name; reads no data.

    Raises:
      UserError: truncated or damaged; a pickle with more than tensors, or without PyTorch.

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
    """One tensor; bfloat16 is the type of `ml_dtypes`.

    Raises:
      UserError: see `contents`.
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
    """PyTorch tensors that stay in the file until they are used."""
    try:
        import torch  # here, because only pickles need it
    except ImportError as error:
        raise UserError(
            f"{file} is a pickle of PyTorch, which is not installed: pip install torch==2.13.0, "
            "or use a folder with .safetensors files"
        ) from error
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _refused(file, error) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise _damaged(file, error) from error
    if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
        raise UserError(f"{file} is not a dict of tensors; use a folder with .safetensors files")
    return loaded


def _to_numpy(value: Any) -> np.ndarray:
    import torch

    if value.dtype == torch.bfloat16:  # numpy has no such type
        return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def _refused(file: Path, error: Exception) -> UserError:
    """The error for a pickle that would run code; PyTorch's own message advises to allow it."""
    called = re.search(r"GLOBAL ([\w.]+)", str(error))
    what = f"calls {called[1]}" if called else "holds more than tensors"
    return UserError(
        f"{file} {what}: no code from it was run, and it was not read; "
        "use a folder with .safetensors files"
    )


def _damaged(file: Path, error: Exception) -> UserError:
    """The error for a file that is truncated or has another format."""
    if "mmap can only be used" in str(error):
        return UserError(
            f"{file} is not a zip file, the format of PyTorch since 1.6: no code from it was run, "
            "and it was not read; use a folder with .safetensors files"
        )
    reason = " ".join(str(error).split())[:160]
    return UserError(f"{file} is truncated or damaged ({reason}); copy it again")
