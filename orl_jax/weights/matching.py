"""Matches a table of names with a folder and a model: the source of each of our parameters.

Only names and shapes are read here; arrays are made when they are written. One error lists
everything that does not fit.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from orl_jax.run.errors import UserError
from orl_jax.weights.folder import Folder
from orl_jax.weights.names import Row, Table
from orl_jax.weights.shard import FLOATS, Tensor, check_finite
from orl_jax.weights.streaming import Streamed

# Their tensors have a row per token of the folder, ours a row per token of our tokenizer.
VOCABULARY = ("language/embedding", "language/lm_head")
_LISTED = 12  # names of one kind of fault
_SLICED = 2**25  # bytes; a larger stacked parameter is made layer by layer

Shape = tuple[int, ...]
Shapes = Mapping[str, Any]  # path -> anything with a shape

_FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda x: x,
    "transpose": np.transpose,
    "patches": lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
    "first": lambda x: x[0],
}
_FORMS_BACK: dict[str, Callable[[Shape], Shape]] = {
    "same": lambda shape: shape,
    "transpose": lambda shape: shape[::-1],
    "patches": lambda shape: (shape[1], 3, *[round((shape[0] / 3) ** 0.5)] * 2),
    "first": lambda shape: (1, *shape),
}


class Source(NamedTuple):
    """A folder and the table of the tensors to read from it."""

    folder: Folder
    table: Table


class Target(NamedTuple):
    """The model to import into.

    Attributes:
      shapes: of its parameters, by path.
      dtype: of the imported arrays.
      may_lack: number of tokens at the end of the vocabulary that need no row in the folder.
    """

    shapes: Shapes
    dtype: np.dtype
    may_lack: int = 0


class Match(NamedTuple):
    """What an import will do.

    Attributes:
      tensors: number of tensors to read.
      unused: tensors that the tables omit by design.
      fresh: our paths that such folders never hold; they are initialised at random later.
      notes: anything else that happens, one line each.
    """

    tensors: int
    unused: list[str]
    fresh: list[str]
    notes: list[str]


def match(sources: Sequence[Source], target: Target) -> Match:
    """Finds the tensors of every parameter.

    Raises:
      UserError: names all tensors that are missing, unknown, or have another shape or type.

    Example: `match([Source(folder, names.llama())], target).tensors == 291` for LLaMA-2-7B.
    """
    if faults := [fault for source in sources if (fault := _faults(source, target))]:
        raise UserError("; ".join(faults))
    found = Match(0, [], [], [])
    for folder, table in sources:
        found.unused.extend(_left_over(folder, table, target.shapes)[1])
        found.fresh.extend(_gaps(table, target.shapes)[1])
        found.notes.extend(_vocabulary_notes(folder, table, target))
    tensors = sum(len(_names(row, target.shapes)) for _, table in sources for row in table.rows)
    return found._replace(tensors=tensors)


def arrays(
    sources: Sequence[Source], target: Target, on_tensor: Callable[[], object] = lambda: None
) -> dict[str, Streamed]:
    """Our parameters by path, from sources that `match` has accepted. Nothing is read yet.

    Args:
      on_tensor: called after each tensor is read, from any thread.

    Example: `arrays([Source(folder, names.llama())], target)["language/norm/scale"].shape`.
    """
    return {
        row.ours: _array(row, folder, target, on_tensor)
        for folder, table in sources
        for row in table.rows
    }


def _faults(source: Source, target: Target) -> str:
    """A sentence with everything that does not fit between a folder and the model, or ""."""
    folder, table = source
    missing, misfits = [], []
    for row in table.rows:
        for name in _names(row, target.shapes):
            if name not in folder.tensors:
                missing.append(name)
            elif misfit := _misfit(row, folder.tensors[name], target):
                misfits.append(f"{name} {misfit}")
    kinds = {
        "lacks": missing,
        "holds unknown tensors:": _left_over(folder, table, target.shapes)[0],
        "has tensors of another shape or type:": misfits,
        "has nothing for our": _gaps(table, target.shapes)[0],
    }
    parts = [f"{kind} {_listed(grouped(names))}" for kind, names in kinds.items() if names]
    return f"{folder.path} {', and '.join(parts)}" if parts else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _names(row: Row, shapes: Shapes) -> list[str]:
    """The tensors that make up a parameter."""
    count = shapes[row.ours].shape[0] if row.stacked else 1
    return [row.name(layer) for layer in range(count)]


def _misfit(row: Row, tensor: Tensor, target: Target) -> str:
    """The tensor's type and shape and the expected ones, or "" where it fits."""
    shape = tuple(target.shapes[row.ours].shape)
    wanted = _FORMS_BACK[row.form](shape[1:] if row.stacked else shape)
    fits = tensor.shape == wanted
    if row.ours in VOCABULARY:
        enough = tensor.shape[:1] >= (wanted[0] - target.may_lack,)
        fits = tensor.shape[1:] == wanted[1:] and enough
    if fits and tensor.dtype in FLOATS.values():
        return ""
    return f"({tensor.dtype} {list(tensor.shape)}, not {list(wanted)} of floats)"


def _left_over(folder: Folder, table: Table, shapes: Shapes) -> tuple[list[str], list[str]]:
    """Tensors without a row: the unknown ones, and those that are unused by design."""
    used = {name for row in table.rows for name in _names(row, shapes)}
    rest = [name for name in folder.tensors if name not in used]
    return _split(rest, table.unused)


def _gaps(table: Table, shapes: Shapes) -> tuple[list[str], list[str]]:
    """Our parameters without a row, within the table's parts of the model: faults, fresh ones."""
    rows = {row.ours for row in table.rows}
    parts = {path.split("/")[0] for path in rows}
    rest = [path for path in shapes if path.split("/")[0] in parts and path not in rows]
    return _split(rest, table.fresh)


def _split(names: list[str], patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that no pattern matches, and those that one does."""
    known = [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]
    return [name for name in names if name not in set(known)], known


def grouped(names: Sequence[str]) -> list[str]:
    """Merges names that differ only in the number of the layer.

    Example: `grouped(["h.0.a", "h.1.a", "h.2.a", "b"]) == ["h.{0-2}.a", "b"]`.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        number = re.search(r"(?<=\.)\d{1,9}(?=\.)", name)
        key = f"{name[: number.start()]}{{}}{name[number.end() :]}" if number else name
        layers.setdefault(key, []).append(number[0] if number else "")
    return [key.replace("{}", _span(numbers)) for key, numbers in layers.items()]


def _span(numbers: list[str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    first, last = int(numbers[0]), int(numbers[-1])
    whole = [int(number) for number in numbers] == list(range(first, last + 1))
    return f"{{{first}-{last}}}" if whole else f"{{{','.join(numbers)}}}"


def _vocabulary_notes(folder: Folder, table: Table, target: Target) -> list[str]:
    notes = []
    for row in table.rows:
        if row.ours in VOCABULARY:
            rows, theirs = _vocabulary(row, target), folder.tensors[row.theirs].shape[0]
            if theirs > rows:
                notes.append(f"{row.theirs}: {theirs - rows} rows beyond the tokenizer are dropped")
            elif theirs < rows:
                notes.append(f"{row.theirs}: {rows - theirs} new tokens get rows of zeros")
    return notes


def _vocabulary(row: Row, target: Target) -> int:
    """Number of tokens in our tokenizer."""
    return _FORMS_BACK[row.form](tuple(target.shapes[row.ours].shape))[0]


def _array(row: Row, folder: Folder, target: Target, on_tensor: Callable[[], object]) -> Streamed:
    shape = tuple(target.shapes[row.ours].shape)
    names = _names(row, target.shapes)

    def make(name: str) -> np.ndarray:
        x = folder.read(name)
        on_tensor()
        if row.ours in VOCABULARY:
            x = _with_rows(x, _vocabulary(row, target))
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            x = np.ascontiguousarray(_FORMS[row.form](x).astype(target.dtype, copy=False))
        return check_finite(x, f"{folder.path}: {name}")

    def pieces() -> Iterator[np.ndarray]:
        made = map(make, names)
        if not row.stacked:
            return made
        return (x[None] for x in made) if sliced else iter([np.stack(list(made))])

    sliced = row.stacked and int(np.prod(shape)) * target.dtype.itemsize >= _SLICED
    return Streamed(shape, target.dtype, pieces, sliced)


def _with_rows(x: np.ndarray, rows: int) -> np.ndarray:
    """Exactly `rows` rows: cut, or padded with zeros."""
    return np.pad(x[:rows], [(0, max(0, rows - len(x))), (0, 0)])
