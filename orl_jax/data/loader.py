"""Batches of data items: shuffled, decoded in workers, read ahead, resumable.

grain shuffles, decodes and reads ahead; the `Loader` takes its examples one by one and fills
batches. So an unreadable video is skipped and counted at the same place, whatever the number of
workers, and the position in the data is one number: how many items have been taken. To resume, a
loader rebuilds grain's pipeline from that position, which is exact with threads, with processes,
and when changing from one to the other.

Several processes that train together each read a share: their own block of rows of every batch of
the one stream that a single process would read. A share skips within its own blocks, so that an
unreadable video does not affect the other shares, and all shares yield equally many batches.
"""

import logging
import signal
import time
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import flags

from orl_jax.data.example import ExampleReader
from orl_jax.data.plan import Plan
from orl_jax.data.shares import Share, begun, merge_states
from orl_jax.data.source import Items
from orl_jax.run.errors import UserError

_READ_AHEAD_BYTES = 512_000_000
_SHARED_MEMORY_BYTES = 4096  # smaller arrays are cheaper to send from a worker process as they are


class Loader(Iterator):
    """Iterates over batches; made by `make_loader` and `batches`.

    A batch is a dict of numpy arrays "frames" uint8 [B, F, H, W, 3], "prompt_ids" int32 [B, L],
    "prompt_mask" bool [B, L], "response_ids" int32 [B, T], "response_mask" bool [B, T], "valid"
    bool [B] (False for padding rows), and the list "items" of the data items of the valid rows.

    With several shares, B is `plan.rows`. Concatenated, the shares' batches are the batches of a
    single process, row for row, as long as every video can be read. All shares yield equally many
    batches: with finite epochs ceil(items * epochs / batch_size). A share that runs out of items
    pads; a batch without any item is zeros.

    Attributes:
      wait_seconds: how long the caller has waited for batches.

    Raises:
      UserError: while iterating, for text that is too long, for an unreadable video where the
        policy is "raise", and where too few items are readable for a batch.
    """

    def __init__(self, items: Items, reader: ExampleReader, plan: Plan) -> None:
        available = len(items) * (plan.epochs or 1)
        if not available or (plan.epochs and not plan.pad_last and available < plan.batch_size):
            raise UserError(f"{available} data items are too few for a batch of {plan.batch_size}")
        self.wait_seconds = 0.0
        self._items = items
        self._reader = reader
        self._plan = plan
        self._position = 0  # items taken up to the end of the last batch
        self._batches = 0  # yielded so far; needed only with several shares
        # Batches that every one of several shares must yield; 0 if they never end.
        self._due = -(-available // plan.batch_size) if plan.shares > 1 and plan.epochs else 0
        self._examples: grain.DatasetIterator | None = None
        self._bad: set[str] = set()
        self._bad_in_a_row = 0

    @property
    def bad_videos(self) -> int:
        """Number of distinct videos that could not be read so far."""
        return len(self._bad)

    def __next__(self) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            return self._next_batch()
        finally:
            self.wait_seconds += time.perf_counter() - start

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers; the next batch starts new ones."""
        if self._examples is not None:
            self._examples.close()
            self._examples = None

    def get_state(self) -> dict[str, Any]:
        """Where the next batch begins, as JSON, for `set_state`.

        With several shares, the positions of the others are None until `merge_states`.
        """
        place: dict[str, Any] = {"position": self._position}
        if self._plan.shares > 1:
            positions: list[int | None] = [None] * self._plan.shares
            positions[self._plan.share] = self._position
            place = {"positions": positions, "rows": self._plan.rows, "batches": self._batches}
        return {**self._identity(), **place, "bad_videos": sorted(self._bad)}

    merge_states = staticmethod(merge_states)

    def set_state(self, state: dict[str, Any]) -> None:
        """Makes the next batch the one that followed `get_state`.

        The number of workers and threads may have changed. With the same number of shares and rows
        this is exact. Otherwise the loader resumes at the first batch of the stream that no share
        had begun. So nothing is read twice; at most ceil(u / rows) batches are left out, where u is
        the largest number of unreadable videos that a share had met (counted again in every epoch),
        and less than one more where the batch size has changed.

        Args:
          state: what `merge_states` returned, or this share's own.

        Raises:
          UserError: the state is for another seed, shuffling or number of items.
          ValueError: the state is another share's own.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise UserError(
                    f"the saved data position is for {name}={state.get(name)}, this run has "
                    f"{name}={value}: resume with the same data settings or use a new workdir"
                )
        batches, position = self._place(state)
        self.close()
        self._batches, self._position = batches, position
        self._bad = set(state["bad_videos"])
        self._bad_in_a_row = 0

    def _identity(self) -> dict[str, Any]:
        """What the order of the items depends on."""
        return {
            "seed": self._plan.seed, "shuffle": self._plan.shuffle, "items": len(self._items),
        }  # fmt: skip

    def _place(self, state: dict[str, Any]) -> tuple[int, int]:
        """Batches, and items of this share, that were read before a state."""
        plan = self._plan
        if "positions" not in state and plan.shares == 1:
            return 0, state["position"]
        positions = state.get("positions", [])
        if len(positions) == plan.shares and state["rows"] == plan.rows:
            if positions[plan.share] is None:
                raise ValueError(f"not the state of share {plan.share}: {positions}")
            return state["batches"], positions[plan.share]
        batches = -(-begun(state) // plan.batch_size)
        return batches, batches * plan.rows

    def _next_batch(self) -> dict[str, Any]:
        size = self._plan.rows
        arrays = {
            name: np.empty((size, *shape), dtype)
            for name, (shape, dtype) in self._reader.layout.items()
        }
        items: list[dict[str, Any]] = []
        position = self._position
        # Rows are copied one by one, which frees a worker's shared memory at once.
        while len(items) < size and (example := self._take()) is not None:
            position += 1
            if self._usable(example):
                for name, rows in arrays.items():
                    rows[len(items)] = example[name]
                items.append(example["item"])
        if len(items) < size:
            self._fill_up(arrays, items)
        self._position = position
        self._batches += 1
        return {**arrays, "valid": np.arange(size) < len(items), "items": items}

    def _take(self) -> dict[str, Any] | None:
        if self._examples is None:
            self._examples = iter(self._dataset())
        return next(self._examples, None)

    def _dataset(self) -> grain.IterDataset:
        """grain's pipeline, from the current position."""
        plan, videos, ahead = self._plan, self._reader.videos, self._read_ahead()
        source = grain.MapDataset.source(self._items)
        if plan.shuffle:
            source = source.shuffle(seed=plan.seed)
        source = source.repeat(plan.epochs)
        if plan.shares > 1:
            source = grain.MapDataset.source(Share(source, plan.batch_size, plan.rows, plan.share))
        source = source[self._position :].map(self._reader)
        if not videos.workers:
            return source.to_iter_dataset(grain.ReadOptions(videos.threads, ahead))
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain reads its own, even where flags are not parsed
        options = grain.MultiprocessingOptions(videos.workers, -(-ahead // videos.workers))
        examples = source.to_iter_dataset(grain.ReadOptions(0, 0))
        examples = examples.mp_prefetch(options, _ignore_interrupts)
        settings = grain.experimental.DatasetOptions(min_shm_size=_SHARED_MEMORY_BYTES)
        return grain.experimental.WithOptionsIterDataset(examples, settings)

    def _read_ahead(self) -> int:
        """Examples to read ahead: two batches, if they are not too large."""
        sizes = [int(np.prod(s)) * np.dtype(d).itemsize for s, d in self._reader.layout.values()]
        affordable = _READ_AHEAD_BYTES // max(sizes)
        return max(min(2 * self._plan.rows, affordable), self._reader.videos.threads)

    def _usable(self, example: dict[str, Any]) -> bool:
        """Whether an example has its arrays; counts, reports or raises if not."""
        if "user_error" in example:
            raise UserError(example["user_error"])
        if "bad_video" not in example:
            self._bad_in_a_row = 0
            return True
        plan = self._plan
        path, reason = example["bad_video"]
        if self._reader.videos.bad_video == "raise":
            remedy = 'set config.data.bad_video to "skip" to continue without it'
            raise UserError(f"unreadable video: {path} {reason}; {remedy}")
        if path not in self._bad:
            self._bad.add(path)
            logging.warning("skipped an unreadable video: %s %s", path, reason)
        self._bad_in_a_row += 1
        # This many in a row contain at least one whole epoch, or, of a share, as many items. Finite
        # epochs end in any case.
        endless = not (self._due or plan.pad_last)
        if self._bad_in_a_row >= 2 * len(self._items) - 1 and endless:
            raise UserError(f"none of {self._tried()} can be read; {path} {reason}")
        return False

    def _tried(self) -> str:
        plan = self._plan
        if plan.shares == 1:
            return f"{len(self._items)} videos"
        return f"{self._bad_in_a_row} videos in a row of share {plan.share} of {plan.shares}"

    def _fill_up(self, arrays: dict[str, np.ndarray], items: list[dict[str, Any]]) -> None:
        """Pads the last batch, or ends the iteration."""
        if items and self._plan.pad_last:
            for rows in arrays.values():
                rows[len(items) :] = rows[len(items) - 1]
        elif self._batches < self._due:  # the other shares continue, so this one must
            for rows in arrays.values():
                rows[:] = 0
        elif self._position == 0 and not (self._due or self._plan.pad_last):
            raise UserError(
                f"only {len(items)} of {len(self._items)} data items can be read, too few for a "
                f"batch of {self._plan.batch_size}; unreadable videos: {self.bad_videos}"
            )
        else:
            raise StopIteration


def _ignore_interrupts(*_: int) -> None:
    """In a worker process: Ctrl-C reaches all processes, but only the main one handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
