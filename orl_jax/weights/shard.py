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

_PART = 2**20  # values that are looked at together
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
      UserError: no file, truncated or damaged; a pickle with more than tensors, or without PyTorch.

    Example: `contents(Path("model.safetensors"))["model.norm.weight"].shape` is (4096,).
    """
    if not file.is_file():  # a FIFO would be waited for
        raise UserError(f"{file} is missing or is not a file; copy it again")
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
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file, error) from error


def read(name: str, file: Path) -> np.ndarray:
    """One tensor; bfloat16 is the type of `ml_dtypes`.

    Raises:
      UserError: see `contents`; a tensor that is not dense.
      KeyError: the file has no such tensor.
    """
    if file.suffix != ".safetensors":
        return _to_numpy(_load_pickle(file)[name], f"{file}: {name}")
    try:
        with safe_open(file, "numpy") as opened:
            return opened.get_tensor(name)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise _damaged(file, error) from error


def check_finite(values: np.ndarray, where: str) -> np.ndarray:
    """The values, all of which must be numbers.

    Looks at a part at a time, so that no second array of their size is made.

    Raises:
      UserError: one is NaN or infinite, also if it became so when it was converted.

    Example: `check_finite(np.ones(3), "model.norm.weight")`.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    bad = sum(
        int((~np.isfinite(flat[start : start + _PART])).sum())
        for start in range(0, flat.size, _PART)
    )
    if bad:
        raise UserError(
            f"{where} holds {bad} values that are NaN or infinite as {values.dtype}, of "
            f"{flat.size}; the model was damaged in training or in copying: use another copy"
        )
    return values


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
    except Exception as error:  # a pickle can fail in any way
        raise _damaged(file, error) from error
    whole = isinstance(loaded, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in loaded.items()
    )
    if not whole:
        raise UserError(f"{file} is not a dict of tensors; use a folder with .safetensors files")
    return loaded


def _to_numpy(value: Any, where: str) -> np.ndarray:
    import torch

    try:
        value = value.detach()
        if value.dtype == torch.bfloat16:  # numpy has no such type
            return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return value.numpy()
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{where} is not a dense array ({reason}); save the model again") from error


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
