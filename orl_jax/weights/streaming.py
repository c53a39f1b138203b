"""Saves parameters that do not fit in memory: an Orbax checkpoint, written piece by piece.

Orbax takes a tree of arrays, copies all of it and writes it at once. Here the leaves are
`Streamed`: a shape, a type and a function that makes the array in pieces. Orbax lays out files and
metadata as usual; only the writing of an array is replaced by the writing of its pieces, so that at
most two pieces and their compressed forms are in memory.

The result is read like any other checkpoint (`orl_jax.run.checkpoint`).
"""

import asyncio
import dataclasses
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from absl import logging as absl_logging

from orl_jax.run.checkpoint import Location
from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
    """An array that is made while it is written.

    Attributes:
      shape, dtype: of the whole array.
      pieces: makes it along its first axis: in one piece or, where it is `sliced`, in slices
        [1, ...]. Called once, in a thread.
      sliced: whether it is made in slices; each one is then a chunk of its own on disk.

    Example: `Streamed((2, 3), np.dtype("float32"), lambda: iter([np.zeros((2, 3), "f4")]))`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Callable[[], Iterator[np.ndarray]]
    sliced: bool = False

    @property
    def size(self) -> int:
        """Number of elements; Orbax asks for it."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.size * self.dtype.itemsize


def save(place: Location, params: dict[str, Any], extra: dict[str, Any]) -> None:
    """Writes the first checkpoint of a stage, {"trained": params}; returns once it is on disk.

    On any failure, including an interrupt, nothing of the stage is left.

    Args:
      place: where to write; the stage must not have a checkpoint yet.
      params: nested dicts of `Streamed`.
      extra: JSON, as for `Checkpoints.save`.

    Raises:
      UserError: not enough disk space; this is checked before anything is written.

    Example: `save(Location("runs/llama2", "imported", 0), params, {"config": {}, "base": ""})`.
    """
    folder = place.path.parent.absolute()
    _check_room(folder, sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
    handler = _PieceHandler()
    loud = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax logs an error with each of its threads
    try:
        with _manager(folder, handler) as manager, handler:
            layout = jax.tree.map(_chunks, params)
            state = ocp.args.PyTreeSave({"trained": params}, {"trained": layout})
            arguments = ocp.args.Composite(state=state, extra=ocp.args.JsonSave(extra))
            manager.save(place.step, args=arguments, force=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        absl_logging.set_verbosity(loud)


class _PieceHandler(ocp.type_handlers.NumpyHandler):
    """Orbax's handler of numpy arrays with its own way of writing an array to its file.

    In Orbax 0.12 `_open_and_write` does that, and `_background_serialize` calls it for all arrays
    at once, in a thread. Without these methods Orbax would expect an array in place of a `Streamed`
    and fail to save it.
    """

    def __init__(self) -> None:
        super().__init__(deepcopy_host_arrays=False)
        self._turn = asyncio.Lock()  # one array at a time
        self._stopped = threading.Event()
        self._failed = False
        self._idle = threading.Event()
        self._idle.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends an interrupted save, whose thread would otherwise run to its end."""
        self._stopped.set()
        self._idle.wait()

    async def _background_serialize(self, *arguments: Any, **keywords: Any) -> None:
        self._idle.clear()
        try:
            await super()._background_serialize(*arguments, **keywords)
        finally:
            self._idle.set()

    async def _open_and_write(
        self, value: Streamed, tspec: dict[str, Any], ts_context: tensorstore.Context
    ) -> None:
        async with self._turn:
            try:
                self._check_running()
                spec = tensorstore.Spec(tspec)
                store = await tensorstore.open(spec, create=True, open=True, context=ts_context)
                await self._write(value, store)
            except BaseException:
                if self._failed:
                    return  # asyncio would print a second traceback
                self._failed = True
                self._stopped.set()  # the other arrays are not to be written either
                raise

    async def _write(self, value: Streamed, store: tensorstore.TensorStore) -> None:
        """Makes each piece while the previous one is compressed and written."""
        start, before = 0, None
        try:
            for piece in value.pieces():
                if before is not None:
                    await before
                self._check_running()
                part = store[start : start + len(piece)]
                before = part.write(piece, can_reference_source_data_indefinitely=True)
                start += len(piece)
        finally:
            if before is not None:
                await before

    def _check_running(self) -> None:
        if self._stopped.is_set():
            raise InterruptedError("the save was interrupted")


def _manager(folder: Path, handler: _PieceHandler) -> ocp.CheckpointManager:
    registry = ocp.type_handlers.create_type_handler_registry((Streamed, handler))
    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False),
        item_handlers={
            "state": ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
            "extra": ocp.JsonCheckpointHandler(),
        },
    )


def _chunks(leaf: Streamed) -> ocp.SaveArgs:
    """The unit that is compressed, written and read is a piece."""
    return ocp.SaveArgs(shard_axes=(0,) if leaf.sliced else ())


def _check_room(folder: Path, needed: int) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"the checkpoint takes up to {needed / 1e9:.1f} GB and {existing} has "
            f"{free / 1e9:.1f} GB free; free some space, or choose another --workdir"
        )
