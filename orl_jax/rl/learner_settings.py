"""What `Learner` reads of a configuration, as one record."""

import dataclasses

from ml_collections import ConfigDict

from orl_jax.run.rules import NEED_SCORES


@dataclasses.dataclass(frozen=True)
class LearnerSettings:
    """What a step does besides sampling and updating.

    Attributes:
      batch_size: B, prompts in a step.
      items: prompts in an epoch.
      steps: of the whole stage.
      updates: of the optimiser in a step.
      videos: folder of the videos that the Oracle is asked about.
      rollouts_every: steps between tables of rollouts.
      reference_refresh: "never" | "epoch": when the reference becomes the current policy.
      needs_scores: the algorithm that needs an Oracle's scores, or "".
      oracle: its name, for messages.
      leave_out_truncated: whether responses without an end token train nothing.
      overlap, lag: what runs while the Oracle is asked; see `orl_jax.rl.learner`.
    """

    batch_size: int
    items: int
    steps: int
    updates: int
    videos: str
    rollouts_every: int
    reference_refresh: str = "never"
    needs_scores: str = ""
    oracle: str = ""
    leave_out_truncated: bool = False
    overlap: bool = False
    lag: bool = False

    @classmethod
    def of(cls, config: ConfigDict, *, items: int, steps: int, updates: int) -> "LearnerSettings":
        """Of `config.rl`, `config.oracle` and `config.data.folder`."""
        rl, oracle = config.rl, config.oracle
        return cls(
            batch_size=rl.batch_size,
            items=items,
            steps=steps,
            updates=updates,
            videos=config.data.folder,
            rollouts_every=rl.rollouts_every,
            reference_refresh=rl.reference_refresh,
            needs_scores=rl.algorithm if rl.algorithm in NEED_SCORES else "",
            oracle=oracle.name,
            leave_out_truncated=rl.truncated == "leave_out",
            overlap=oracle.overlap,
            lag=bool(oracle.lag),
        )
