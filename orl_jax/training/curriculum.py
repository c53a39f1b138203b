"""Loaders one after another, as one source of batches with one position."""

from collections.abc import Sequence
from typing import Any

from orl_jax.data.loader import Loader


class Curriculum:
    """Phases of a stage, each with its own loader; the last phase never ends.

    Args:
      phases: pairs (the number of batches, counted from the start of the stage, after which the
        phase ends; its loader).
    """

    def __init__(self, phases: Sequence[tuple[int, Loader]]) -> None:
        self._phases = list(phases)
        self._batches = 0

    @property
    def bad_videos(self) -> int:
        """Unreadable videos; one that several phases read counts in each."""
        return sum(loader.bad_videos for _, loader in self._phases)

    @property
    def wait_seconds(self) -> float:
        """How long the caller has waited."""
        return sum(loader.wait_seconds for _, loader in self._phases)

    def __next__(self) -> dict[str, Any]:
        index = self._index()
        if index and self._batches == self._phases[index - 1][0]:
            self._phases[index - 1][1].close()
        self._batches += 1
        return next(self._phases[index][1])

    def __enter__(self) -> "Curriculum":
        return self

    def __exit__(self, *_: object) -> None:
        for _, loader in self._phases:
            loader.close()

    def get_state(self) -> dict[str, Any]:
        """Where the next batch begins, for JSON."""
        states = [loader.get_state() for _, loader in self._phases]
        return {"batches": self._batches, "phases": states}

    @staticmethod
    def merge_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The states of all shares as one, for JSON; see `Loader.merge_states`.

        Raises:
          ValueError: if a share is missing or not in its place, or the batches differ.
        """
        phases = zip(*(state["phases"] for state in states), strict=True)
        return {**states[0], "phases": [Loader.merge_states(phase) for phase in phases]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Makes the next batch the one that followed `get_state`."""
        self._batches = state["batches"]
        for (_, loader), saved in zip(self._phases, state["phases"], strict=True):
            loader.set_state(saved)

    def _index(self) -> int:
        ends = [end for end, _ in self._phases[:-1]]
        return sum(self._batches >= end for end in ends)
