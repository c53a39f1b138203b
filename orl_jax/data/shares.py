"""A stream of items that several processes read together, and each process's position in it.

The stream is what a single process would read. Of every batch, process p takes the p-th block of
rows; so, while every video can be read, the blocks together are the batches of a single process,
row for row.
"""

import operator
from collections.abc import Sequence
from typing import Any

import grain


class Share:
    """The items of one process, by index; a source for grain.

    Args:
      stream: of all processes.
      batch_size: rows per batch, of all processes together.
      rows: rows per batch of this process.
      share: index of this process.

    Example: of ten items in batches of 4, `Share(stream, 4, 2, 1)` holds the items 2, 3, 6, 7.
    """

    def __init__(self, stream: grain.MapDataset, batch_size: int, rows: int, share: int) -> None:
        self._stream = stream
        self._batch_size = batch_size
        self._rows = rows
        self._first = share * rows  # row of the batch

    def __len__(self) -> int:
        batches, rest = divmod(len(self._stream), self._batch_size)
        return batches * self._rows + min(max(rest - self._first, 0), self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch, row = divmod(operator.index(index), self._rows)
        return self._stream[batch * self._batch_size + self._first + row]


def merge_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The states of the loaders of all processes as one, for JSON.

    Args:
      states: what `Loader.get_state` of share 0, 1, ... returned after the same number of batches.

    Returns:
      A single state unchanged; otherwise one with "positions" (how many items each share has
      taken), "rows", "batches", and the unreadable videos of all shares.

    Raises:
      ValueError: a share is missing or out of order, or the batches differ.

    Example: `merge_states([{..., "positions": [4, None]}, {..., "positions": [None, 5]}])` has
    "positions" [4, 5].
    """
    first = states[0]
    if len(states) != len(first.get("positions", [None])):
        raise ValueError(f"{len(states)} states are not those of all shares")
    if "positions" not in first:
        return first
    positions = [state["positions"][share] for share, state in enumerate(states)]
    if None in positions or len({state["batches"] for state in states}) > 1:
        raise ValueError("the states are not those of share 0, 1, ... after the same batch")
    bad = set().union(*(state["bad_videos"] for state in states))
    return {**first, "positions": positions, "bad_videos": sorted(bad)}


def begun(state: dict[str, Any]) -> int:
    """Items of the whole stream up to the end of the last batch that any share has begun.

    Raises:
      ValueError: the state of one share of several, which was not merged.
    """
    if "positions" not in state:
        return state["position"]
    if None in state["positions"]:
        raise ValueError("the state of one share is not enough: store what merge_states returns")
    batches = max(-(-position // state["rows"]) for position in state["positions"])
    return batches * state["rows"] * len(state["positions"])
