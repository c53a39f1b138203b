"""Batches of which the next one can be read before it is taken."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol


class Batches(Protocol):
    """An endless source of batches whose position can be saved, such as `Loader`."""

    bad_videos: int
    wait_seconds: float

    def __next__(self) -> dict[str, Any]: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...

    @staticmethod
    def merge_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]: ...


class LookAhead(Iterator):
    """Iterates as the batches do; `peek` reads the next one early.

    A batch that was peeked at but not taken counts as unread: the saved position is before it.

    Args:
      batches: what it reads from.

    Example: `ahead.peek()["items"] == next(ahead)["items"]`.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._next: dict[str, Any] | None = None
        self._place: dict[str, Any] | None = None  # before the batch that was peeked at

    @property
    def bad_videos(self) -> int:
        """Number of distinct videos that could not be read so far."""
        return self._batches.bad_videos

    @property
    def wait_seconds(self) -> float:
        """How long callers have waited for batches."""
        return self._batches.wait_seconds

    def peek(self) -> dict[str, Any]:
        """The batch that `next` will return."""
        if self._next is None:
            place = self._batches.get_state()
            self._next, self._place = next(self._batches), place
        return self._next

    def __next__(self) -> dict[str, Any]:
        batch = self.peek()
        self._next = self._place = None
        return batch

    def get_state(self) -> dict[str, Any]:
        """Where the next batch begins; see `Loader.get_state`."""
        return self._batches.get_state() if self._place is None else self._place

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a saved position."""
        self._next = self._place = None
        self._batches.set_state(state)

    def merge_states(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """See `Loader`."""
        return self._batches.merge_states(states)
