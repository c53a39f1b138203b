"""Saves parameters that do not fit in memory: an Orbax checkpoint, written a piece at a time.

Orbax takes a tree of arrays, copies all of it and writes all of it at once. Here its leaves are
`Streamed`: a shape, a type and a function that makes the array in pieces. Orbax lays out its files
and metadata as ever; only where it would write an array, the pieces are written instead, so that
no more than two of them are in memory, and what they are compressed to.

What is written is read as all checkpoints are (`orl_jax.run.checkpoint`).
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
      pieces: makes it along its first axis: all of it at once or, where it is `sliced`, slices
        [1, ...] one after the other. Called once, in a thread.
      sliced: says so; each slice is then a chunk of its own on the disk.

    Example: `Streamed((2, 3), np.dtype("float32"), lambda: iter([np.zeros((2, 3), "f4")]))`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    pieces: Callable[[], Iterator[np.ndarray]]
    sliced: bool = False

    @property
    def size(self) -> int:
        """Number of numbers; Orbax asks for it."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.size * self.dtype.itemsize


def save(place: Location, params: dict[str, Any], extra: dict[str, Any]) -> None:
    """Writes a checkpoint of a new stage, {"trained": params}, and returns when it is on the disk.

    Whatever goes wrong, an interrupt included, nothing of the stage is left.

    Args:
      place: where; the stage has no checkpoint yet.
      params: nested dicts of `Streamed`.
      extra: JSON, as for `Checkpoints.save`.

    Raises:
      UserError: too little room on the disk; found out before anything is written.

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
    """Orbax's handler of numpy arrays, with other hands where an array meets its file.

    `_open_and_write` is what Orbax 0.12 has for that, and `_background_serialize` calls it for all
    arrays at once, in a thread. Without them Orbax would expect an array where a `Streamed` is, and
    saving would fail.
    """

    def __init__(self) -> None:
        super().__init__(deepcopy_host_arrays=False)
        self._turn = asyncio.Lock()  # one array after the other
        self._stopped = threading.Event()
        self._idle = threading.Event()
        self._idle.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends a save that was interrupted: the thread would go on to its end."""
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
                self._go_on()
                spec = tensorstore.Spec(tspec)
                store = await tensorstore.open(spec, create=True, open=True, context=ts_context)
                await self._write(value, store)
            except BaseException:
                self._stopped.set()  # the others' turn will never come
                raise

    async def _write(self, value: Streamed, store: tensorstore.TensorStore) -> None:
        """Makes a piece while the one before is compressed and written."""
        start, before = 0, None
        try:
            for piece in value.pieces():
                if before is not None:
                    await before
                self._go_on()
                part = store[start : start + len(piece)]
                before = part.write(piece, can_reference_source_data_indefinitely=True)
                start += len(piece)
        finally:
            if before is not None:
                await before

    def _go_on(self) -> None:
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
    """A chunk is what is compressed, written and read as one; here a piece."""
    return ocp.SaveArgs(shard_axes=(0,) if leaf.sliced else ())


def _check_room(folder: Path, needed: int) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"the checkpoint takes up to {needed / 1e9:.1f} GB and {existing} has "
            f"{free / 1e9:.1f} GB free; make room, or choose another --workdir"
        )
