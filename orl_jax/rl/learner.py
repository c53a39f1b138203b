"""One RL step: encode and sample, ask the Oracle, update.

The device's part is jitted (`device_policy`); the Oracle is asked on the host in between, and every
crossing is explicit. What runs while it thinks (`config.oracle`):

    default     nothing
    overlap     the next step's videos are decoded and encoded; the results are the same
    lag = 1     also, the next step's responses are sampled. These are then by the policy before
                this step's update: one update old when they are trained on. So the policy that
                sampled them scores them, and the importance ratio is to its probabilities.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from orl_jax.models.params import policy_of
from orl_jax.models.sequences import Prompt
from orl_jax.oracles import Ranking
from orl_jax.oracles.requests import Text, make_requests
from orl_jax.rl import rl_metrics
from orl_jax.rl.asking import Answer, Asker
from orl_jax.rl.batch import Judgement, Ranked, RolloutBatch
from orl_jax.rl.device_policy import DevicePolicy
from orl_jax.rl.learner_settings import LearnerSettings
from orl_jax.rl.rollout_table import rollout_rows, write_rollouts
from orl_jax.run import processes
from orl_jax.run.clock import Clock, span
from orl_jax.run.config import check_whole_groups
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import MetricsWriter
from orl_jax.training.state import Ahead, TrainState

Batch = dict[str, Any]


class PendingRollout(NamedTuple):
    """A rollout that the Oracle has been asked about.

    Attributes:
      items: data items of the prompts.
      batch: the rollout, without a judgement yet.
      lengths: tokens of each response of this process, on the host [B, G].
      texts: of each prompt of this process its responses.
      answer: waits for the Oracle.
    """

    items: Sequence[Batch]
    batch: RolloutBatch
    lengths: np.ndarray
    texts: list[list[Text]]
    answer: Callable[[], Answer]


class Learner:
    """The steps of a run, one after another.

    Args:
      policy: is updated.
      schedule: its learning rate by update, for the metrics.
      asker: asks the Oracle.
      settings: see `LearnerSettings`.
      workdir: gets the tables of rollouts.
    """

    def __init__(
        self,
        policy: DevicePolicy,
        schedule: optax.Schedule,
        asker: Asker,
        settings: LearnerSettings,
        workdir: str,
    ) -> None:
        self.policy = policy
        self.settings = settings
        self.schedule = schedule
        self._asker = asker
        self._workdir = pathlib.Path(workdir)
        self._pending: PendingRollout | None = None  # of the next step, if sampled ahead
        self._media: Array | None = None  # likewise, if only encoded ahead

    def start(self) -> TrainState:
        """The state before the first step."""
        state, settings = self.policy.start(), self.settings
        if not settings.lag:
            return state
        layout, sampling = self.policy.layout, self.policy.sampling
        here = settings.batch_size // jax.process_count()
        nothing = Ahead.none(here, sampling.group_size, sampling.max_tokens)
        rows = layout.rows((nothing.responses, nothing.old_log_prob))
        return state._replace(ahead=Ahead(layout.replicate(nothing.step), *rows))

    def rl_step(
        self,
        state: TrainState,
        batch: Batch,
        metrics: MetricsWriter,
        following: Callable[[], Batch] | None = None,
    ) -> tuple[TrainState, dict[str, Any]]:
        """One step on a batch of prompts; writes the rollout's table when it is due.

        Args:
          following: gives the next step's batch, for what runs while the Oracle is asked.
        """
        clock = Clock()
        step = int(jax.device_get(state.step))
        with jax.transfer_guard("disallow"):
            with clock("rollout"):
                pending = self._pending or self._take(state, step, batch)
            state = self._look_ahead(state, step, following, clock)
            with clock("oracle"):
                answer = pending.answer()
            with clock("score"):
                rollout = self._judged(pending, answer.rankings)
            with clock("update"):
                state, values, ranked = self._update(state, rollout)
        if (step + 1) % self.settings.rollouts_every == 0 or step == 0:
            table = rollout_rows(step + 1, pending.items, pending.texts, answer.rankings, ranked)
            self._show(step + 1, processes.gather_rows(table), metrics)
        values |= self._host_metrics(step, pending, answer) | clock.seconds()
        values["tokens_per_second"] = float(pending.lengths.sum()) / sum(clock.seconds().values())
        return self._refresh_reference(state, step + 1), values

    def _take(self, state: TrainState, step: int, batch: Batch) -> PendingRollout:
        """The batch with responses: those of the state, where they were sampled ahead of it."""
        prompt, media = self._see(state, batch)
        ahead = state.ahead
        if ahead is None or int(jax.device_get(ahead.step)) != step:
            return self._respond(state, step, batch["items"], prompt, media)
        rollout = RolloutBatch(media, prompt, ahead.responses, old_log_prob=ahead.old_log_prob)
        return self._ask(batch["items"], rollout)

    def _look_ahead(
        self,
        state: TrainState,
        step: int,
        following: Callable[[], Batch] | None,
        clock: Clock,
    ) -> TrainState:
        """Does what the next step can do without this one's update; the last step has no next."""
        self._pending = self._media = None
        lag, last = self.settings.lag, step + 1 >= self.settings.steps
        if following is None or last or not (lag or self.settings.overlap):
            return state
        with span("data"):
            batch = following()
        with clock("rollout"):
            prompt, media = self._see(state, batch)
            if not lag:
                self._media = media
                return state
            self._pending = self._respond(state, step + 1, batch["items"], prompt, media)
        number = self.policy.layout.replicate(np.asarray(step + 1, np.int32))
        rollout = self._pending.batch
        return state._replace(ahead=Ahead(number, rollout.responses, rollout.old_log_prob))

    def _see(self, state: TrainState, batch: Batch) -> tuple[Prompt, Array]:
        """Prompts and media on the device."""
        rows = self.policy.layout.rows
        prompt = rows(Prompt(batch["prompt_ids"], batch["prompt_mask"]))
        if "media" in batch:  # of an earlier encoding: `config.data.features`
            return prompt, rows(batch["media"])
        if self._media is not None:
            return prompt, self._media
        with span("encode"):
            return prompt, self.policy.see(state, batch["frames"])

    def _respond(
        self,
        state: TrainState,
        step: int,
        items: Sequence[Batch],
        prompt: Prompt,
        media: Array,
    ) -> PendingRollout:
        """Samples responses by the policy of `state` with a step's noise, and asks about them."""
        scored = self.settings.lag
        return self._ask(items, self.policy.respond(state, step, prompt, media, scored=scored))

    def _ask(self, items: Sequence[Batch], rollout: RolloutBatch) -> PendingRollout:
        texts = self.policy.texts(rollout.responses)
        check_whole_groups(sum(map(len, texts)), self.policy.sampling.group_size)
        lengths = self.policy.layout.local_rows(rollout.responses.mask).sum(axis=-1)
        answer = self._asker.begin(make_requests(items, texts, self.settings.videos))
        return PendingRollout(items, rollout, lengths, texts, answer)

    def _judged(self, pending: PendingRollout, rankings: list[Ranking]) -> RolloutBatch:
        """The rollout with what the Oracle says about it, and which responses train."""
        if self.settings.needs_scores and any(r.valid and not r.scores for r in rankings):
            raise UserError(
                f"config.rl.algorithm is {self.settings.needs_scores}, which needs scores, and the "
                f"Oracle {self.settings.oracle} gives only an order; choose grpo_rank, or an "
                "Oracle that gives scores"
            )
        rows = self.policy.layout.rows
        rollout = pending.batch._replace(judgement=rows(Judgement.of(rankings)))
        if not self.settings.leave_out_truncated:
            return rollout
        ended = [[not truncated for _, truncated in group] for group in pending.texts]
        return rollout._replace(counted=rows(np.array(ended)))

    def _update(
        self, state: TrainState, batch: RolloutBatch
    ) -> tuple[TrainState, dict[str, Any], Ranked]:
        """The algorithm's step; metrics and what was made of the responses, on the host."""
        policy, ahead = self.policy, state.ahead
        state = state._replace(ahead=None)  # no part of the update
        state, values, ranked = policy.update(state, policy.frozen, policy.banned, batch)
        values, ranked = jax.device_get(values), policy.layout.local_rows(ranked)
        return state._replace(ahead=ahead), values, ranked

    def _show(self, step: int, rows: list[dict[str, Any]], metrics: MetricsWriter) -> None:
        """The table of a rollout and its distributions, of the prompts of all processes."""
        if not processes.is_writer():
            return
        write_rollouts(self._workdir / "rollouts" / f"{step}.jsonl", rows)
        for name in ("advantages", "penalties"):
            metrics.histogram(step, name, [row[name] for row in rows])

    def _host_metrics(self, step: int, pending: PendingRollout, answer: Answer) -> dict[str, float]:
        last_update = np.asarray((step + 1) * self.settings.updates - 1)
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            rate = float(self.schedule(last_update))
        return {
            "learning_rate": rate,
            **rl_metrics.of_rankings(answer.rankings),
            **answer.stats,
            **rl_metrics.of_texts(pending.texts, pending.lengths),
        }

    def _refresh_reference(self, state: TrainState, step: int) -> TrainState:
        """Takes the trained parameters as the new reference where an epoch begins."""
        settings = self.settings
        epoch = (step * settings.batch_size) // settings.items
        before = ((step - 1) * settings.batch_size) // settings.items
        if settings.reference_refresh == "epoch" and epoch > before:
            return state._replace(reference=jax.tree.map(jnp.copy, policy_of(state.trained)))
        return state
