"""In which order, and in what batches, a loader goes through its items."""

import dataclasses

from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """The order of a loader's items, and the size and number of its batches.

    Args:
      batch_size: B, of all shares together.
      seed: of the order, in [0, 2^32).
      shuffle: whether to shuffle, differently in every epoch.
      epochs: how often to go through the items; None repeats them endlessly.
      pad_last: whether to fill up the last batch of finite `epochs` instead of dropping it.
      share: which rows of every batch to read, where several processes share it: the index of this
        process, in [0, shares).
      shares: the number of processes.

    Raises:
      UserError: a value is out of range.

    Example: `Plan(64, seed=0).rows == 64`.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = True
    epochs: int | None = None
    pad_last: bool = False
    share: int = 0
    shares: int = 1

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("shares", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}; it must be in [0, 2^32)")
        self._check_shares()

    @property
    def rows(self) -> int:
        """Rows of a batch of one share."""
        return self.batch_size // self.shares

    def _check_shares(self) -> None:
        if not 0 <= self.share < self.shares:
            raise UserError(
                f"share is {self.share}; it must be in [0, {self.shares}), the index of this "
                f"process among {self.shares}"
            )
        if self.batch_size % self.shares:
            raise UserError(
                f"batch_size is {self.batch_size}, which {self.shares} processes cannot share "
                f"evenly; it must be a multiple of {self.shares}"
            )
        if self.shares > 1 and self.epochs and not self.pad_last:
            raise UserError(
                f"epochs is {self.epochs} for {self.shares} processes, whose numbers of whole "
                "batches could differ; leave epochs out or set pad_last"
            )
