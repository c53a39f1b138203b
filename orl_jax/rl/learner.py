"""One RL step: encode and sample, ask the Oracle, update.

The device's part is three jitted functions; the Oracle is asked on the host between them, and every
crossing is explicit. What runs while it thinks (`config.oracle`):

    default     nothing
    overlap     the next step's videos are decoded and encoded; the results are the same
    lag = 1     they are, and the next step's answers are sampled, too. These are then by the policy
                before this step's update: one update old when they are trained on. So the policy
                that sampled them scores them, and the importance ratio is to its probabilities.
"""

import pathlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from orl_jax.models import assembly as assemblies
from orl_jax.models.params import combine, flatten, masters, partition, policy_of
from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM
from orl_jax.oracles import Ranking
from orl_jax.oracles.requests import Text, make_requests
from orl_jax.rl.algorithms import (
    make_log_prob,
    make_step,
    total_steps,
    trained_parameters,
    updates_a_step,
)
from orl_jax.rl.asking import Answer, Asker
from orl_jax.rl.batch import Judgement, Ranked, RolloutBatch
from orl_jax.rl.rollout_table import rollout_rows, write_rollouts
from orl_jax.rl.score_oracle import reward_model
from orl_jax.run import processes
from orl_jax.run.clock import Clock, span
from orl_jax.run.config import check_whole_groups
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import MetricsWriter
from orl_jax.run.rules import NEED_SCORES
from orl_jax.training.optimizer import learning_rate, make_optimizer
from orl_jax.training.state import Ahead, TrainState, shardings, start

Batch = dict[str, Any]


class PendingRollout(NamedTuple):
    """A rollout about which the Oracle has been asked.

    Attributes:
      items: data items of the prompts.
      batch: the rollout, without a judgement yet.
      lengths: tokens of each response, on the host [B, G].
      texts: of each prompt its responses.
      answer: waits for the Oracle.
    """

    items: Sequence[Batch]
    batch: RolloutBatch
    lengths: np.ndarray
    texts: list[list[Text]]
    answer: Callable[[], Answer]


class Learner:
    """The jitted functions of a run and what they need; `advance` is one RL step.

    Attributes:
      encode: (trained, frozen, frames) -> media.
      rollout: (state, frozen, banned, media, prompt, number) -> `Responses`, with the noise of the
        step `number`.
      score: (state, frozen, banned, batch) -> log-probabilities of sampled tokens [B, G, T].
      update: the step of `config.rl.algorithm`.
      items: prompts in an epoch.
      steps: of the whole stage.
    """

    def __init__(
        self,
        config: ConfigDict,
        assembly: assemblies.Assembly,
        params: dict[str, Any],
        asker: Asker,
        workdir: str,
        items: int,
    ) -> None:
        rl = config.rl
        self.config = config
        self.asker = asker
        self.items = items
        self.encoder = assembly.encoder
        self.layout = assembly.layout
        self.layout.check_rows("rl.batch_size", rl.batch_size)
        self.layout.check_rows("rl.micro_batch", rl.micro_batch)
        self.workdir = pathlib.Path(workdir)
        policy, self.frozen = partition(params, rl.trainable)
        policy = masters(policy)
        self.trained = trained_parameters(
            config, policy, assembly.model.language.width, self.layout, reward_model(config)
        )
        self.banned = assemblies.banned_tokens(assembly)
        self.updates = updates_a_step(config)
        self.steps = total_steps(rl, items)
        self.schedule = learning_rate(rl, self.steps * self.updates)
        self.optimizer = make_optimizer(rl, self.schedule)
        self._lag, self._overlap = config.oracle.get("lag", 0), config.oracle.get("overlap", False)
        self._pending: PendingRollout | None = None  # of the next step, where it was sampled ahead
        self._media: Array | None = None  # likewise
        self._compile(assembly.model, any(path.startswith("adapter/") for path in flatten(policy)))

    def _compile(self, model: VLM, adapter_trained: bool) -> None:
        """Makes the jitted functions; they compile when they are first called."""
        rows, whole, jit = self.layout.batch, self.layout.whole, self.layout.jit
        step = make_step(
            self.config, model, self.optimizer,
            adapter_trained=adapter_trained, end_id=self.encoder.end_id,
        )  # fmt: skip
        log_prob = make_log_prob(self.config, model, adapter_trained=adapter_trained)
        self.encode = jit(partial(encode, model, adapter_trained), out_shardings=rows)
        self.rollout = jit(partial(self._rollout, model, adapter_trained), out_shardings=rows)
        self.score = jit(log_prob, out_shardings=rows)
        places = shardings(self.start()._replace(ahead=None))
        self.update = jit(step, donate_argnums=0, out_shardings=(places, whole, rows))

    def start(self) -> TrainState:
        """The state before the first step: the reference is a copy of what is trained."""
        seed, layout, rl = self.config.seed, self.layout, self.config.rl
        state = start(self.trained, self.optimizer, seed, layout, with_reference=True)
        if not self._lag:
            return state
        here = rl.batch_size // jax.process_count()
        nothing = Ahead.none(here, rl.group_size, rl.max_response_tokens)
        number = layout.replicate(nothing.step)
        rows = layout.rows((nothing.responses, nothing.old_log_prob))
        return state._replace(ahead=Ahead(number, *rows))

    def advance(
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
                judgement = self.layout.rows(self._judgement(answer.rankings))
            with clock("update"):
                state, values, ranked = self._update(
                    state, pending.batch._replace(judgement=judgement)
                )
        if (step + 1) % self.config.rl.rollouts_every == 0 or step == 0:
            table = rollout_rows(step + 1, pending.items, pending.texts, answer.rankings, ranked)
            self._show(step + 1, processes.gather_rows(table), metrics)
        values |= self._host_metrics(step, pending, answer) | clock.seconds()
        values["tokens_per_second"] = float(pending.lengths.sum()) / sum(clock.seconds().values())
        return self._refresh_reference(state, step + 1), values

    def _take(self, state: TrainState, step: int, batch: Batch) -> PendingRollout:
        """The batch with responses: of the state, where they were sampled before it was saved."""
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
        if following is None or step + 1 >= self.steps or not (self._lag or self._overlap):
            return state
        with span("data"):
            batch = following()
        with clock("rollout"):
            prompt, media = self._see(state, batch)
            if not self._lag:
                self._media = media
                return state
            self._pending = self._respond(state, step + 1, batch["items"], prompt, media)
        number = self.layout.replicate(np.asarray(step + 1, np.int32))
        rollout = self._pending.batch
        return state._replace(ahead=Ahead(number, rollout.responses, rollout.old_log_prob))

    def _see(self, state: TrainState, batch: Batch) -> tuple[Prompt, Array]:
        """Prompts and media on the device."""
        prompt = self.layout.rows(Prompt(batch["prompt_ids"], batch["prompt_mask"]))
        if "media" in batch:  # of an earlier encoding: `config.data.features`
            return prompt, self.layout.rows(batch["media"])
        media = self._media
        if media is None:
            with span("encode"):
                media = self.encode(state.trained, self.frozen, self.layout.rows(batch["frames"]))
        return prompt, media

    def _respond(
        self,
        state: TrainState,
        step: int,
        items: Sequence[Batch],
        prompt: Prompt,
        media: Array,
    ) -> PendingRollout:
        """Samples responses by the policy of `state` with a step's noise, and asks about them."""
        number = self.layout.replicate(np.asarray(step, np.int32))
        responses = self.rollout(state, self.frozen, self.banned, media, prompt, number)
        rollout = RolloutBatch(media, prompt, responses)
        if self._lag:
            old = self.score(state, self.frozen, self.banned, rollout)
            rollout = rollout._replace(old_log_prob=old)
        return self._ask(items, rollout)

    def _ask(self, items: Sequence[Batch], rollout: RolloutBatch) -> PendingRollout:
        responses = rollout.responses
        ids, mask = self.layout.local_rows((responses.ids, responses.mask))
        check_whole_groups(ids.shape[0] * ids.shape[1], self.config.rl.group_size)
        texts = [[self.encoder.decode(row) for row in group] for group in ids]
        requests = make_requests(items, texts, self.config.data.folder)
        answer = self.asker.begin(requests)
        return PendingRollout(items, rollout, mask.sum(axis=-1), texts, answer)

    def _update(
        self, state: TrainState, batch: RolloutBatch
    ) -> tuple[TrainState, dict[str, Any], Ranked]:
        ahead, state = state.ahead, state._replace(ahead=None)  # no part of the update
        state, values, ranked = self.update(state, self.frozen, self.banned, batch)
        values, ranked = jax.device_get(values), self.layout.local_rows(ranked)
        return state._replace(ahead=ahead), values, ranked

    def _show(self, step: int, rows: list[dict[str, Any]], metrics: MetricsWriter) -> None:
        """The table of a rollout and its distributions, of the prompts of all processes."""
        if not processes.is_writer():
            return
        write_rollouts(self.workdir / "rollouts" / f"{step}.jsonl", rows)
        for name in ("advantages", "penalties"):
            metrics.histogram(step, name, [row[name] for row in rows])

    def _rollout(
        self,
        model: VLM,
        adapter_trained: bool,
        state: TrainState,
        frozen: dict[str, Any],
        banned: Array,
        media: Array,
        prompt: Prompt,
        number: Int[Array, ""],
    ) -> Responses:
        params = combine(frozen, policy_of(state.trained))
        if adapter_trained:
            media = model.apply({"params": params}, media, method=VLM.adapt)
        rl, key = self.config.rl, state._replace(step=number).step_key()
        return sample(
            model, params, media, prompt, banned, key,
            group_size=rl.group_size, max_tokens=rl.max_response_tokens,
            temperature=rl.temperature, end_id=self.encoder.end_id, pad_id=self.encoder.pad_id,
        )  # fmt: skip

    def _judgement(self, rankings: list[Ranking]) -> Judgement:
        """On the host."""
        algorithm = self.config.rl.algorithm
        if algorithm in NEED_SCORES and any(r.valid and not r.scores for r in rankings):
            raise UserError(
                f"config.rl.algorithm is {algorithm}, which needs scores, and the Oracle "
                f"{self.config.oracle.name} gives an order alone; choose grpo_rank, or an Oracle "
                "that gives scores"
            )
        ranks = np.array([r.ranks for r in rankings], np.float32)
        scores = np.array([r.scores or (0.0,) * len(r.ranks) for r in rankings], np.float32)
        return Judgement(ranks, scores, np.array([r.valid for r in rankings]))

    def _host_metrics(self, step: int, pending: PendingRollout, answer: Answer) -> dict[str, float]:
        texts, rankings = pending.texts, answer.rankings
        distinct = [len({text for text, _ in group}) / len(group) for group in texts]
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            rate = float(self.schedule(np.asarray((step + 1) * self.updates - 1)))
        return {
            "learning_rate": rate,
            "oracle/valid_fraction": float(np.mean([r.valid for r in rankings])),
            "oracle/seconds": float(sum(r.seconds for r in rankings)),
            **answer.stats,
            "response/length_mean": float(pending.lengths.mean()),
            "response/truncated_fraction": float(np.mean([[t for _, t in g] for g in texts])),
            "response/distinct_fraction": float(np.mean(distinct)),
        }

    def _refresh_reference(self, state: TrainState, step: int) -> TrainState:
        """Takes the trained parameters as the new reference where an epoch begins, by policy."""
        epoch = (step * self.config.rl.batch_size) // self.items
        before = ((step - 1) * self.config.rl.batch_size) // self.items
        if self.config.rl.reference_refresh == "epoch" and epoch > before:
            return state._replace(reference=jax.tree.map(jnp.copy, policy_of(state.trained)))
        return state


def encode(
    model: VLM,
    adapter_trained: bool,
    trained: dict[str, Any],
    frozen: dict[str, Any],
    frames: Array,
) -> Float[Array, "B ..."]:
    """Visual tokens; features where the adapter is trained and must stay in the update's graph."""
    variables = {"params": combine(frozen, policy_of(trained))}
    features = model.apply(variables, frames, method=VLM.encode)
    return features if adapter_trained else model.apply(variables, features, method=VLM.adapt)
