"""Oracle-RLAIF: rollout, ranking by the Oracle, one jitted step of GRPO_rank or a rival.

    next prompts -> encode the videos once -> prefill once a prompt, decode G responses -> responses
    to the host -> Oracle -> ranks to the device -> `GrpoRank.step` (or `Ppo.step`)

The Oracle is called between jitted functions, on the host; every crossing is explicit.
"""

import dataclasses
import logging
import pathlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from orl_jax.config import check_whole_groups
from orl_jax.config_rules import NEED_SCORES
from orl_jax.data import pipeline
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.source import Items, open_split
from orl_jax.errors import TrainingHalted, UserError
from orl_jax.evaluation.accuracy import Evaluator
from orl_jax.metrics import MetricsWriter
from orl_jax.models.params import combine, flatten, masters, partition
from orl_jax.models.vlm import VLM
from orl_jax.monitors import Monitors
from orl_jax.oracles import Oracle, Ranking, ask, ask_again, make_oracle
from orl_jax.oracles.requests import Text, make_requests
from orl_jax.rollout.sampler import Rollout, sample
from orl_jax.sharding import processes
from orl_jax.training import assembly as assemblies
from orl_jax.training import loop
from orl_jax.training.algorithms import (
    make_step,
    trained_parameters,
    updates_a_step,
)
from orl_jax.training.optimizer import learning_rate, make_optimizer
from orl_jax.training.ranked_batch import RankedBatch
from orl_jax.training.rollout_table import rollout_rows, write_rollouts
from orl_jax.training.score_oracle import device_oracles, reward_model
from orl_jax.training.state import TrainState, policy_of, shardings, start

Batch = dict[str, Any]


class Learner:
    """The jitted functions of a run and what they need; `advance` is one RL step.

    Attributes:
      encode: (trained, frozen, frames) -> media.
      rollout: (state, frozen, banned, media, prompt_ids, prompt_mask) -> `Rollout`.
      update: the step of `config.rl.algorithm`.
      items: prompts in an epoch.
      steps: of the whole stage.
    """

    def __init__(
        self,
        config: ConfigDict,
        assembly: assemblies.Assembly,
        params: dict[str, Any],
        oracle: Oracle,
        workdir: str,
        items: int,
    ) -> None:
        rl = config.rl
        self.config = config
        self.oracle = oracle
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
        adapter_trained = any(path.startswith("adapter/") for path in flatten(policy))
        step = make_step(
            config, assembly.model, self.optimizer,
            adapter_trained=adapter_trained, end_id=self.encoder.end_id,
        )  # fmt: skip
        rows, whole = self.layout.batch, self.layout.whole
        self.encode = self.layout.jit(
            partial(_encode, assembly.model, adapter_trained), out_shardings=rows
        )
        self.rollout = self.layout.jit(
            partial(self._rollout, assembly.model, adapter_trained), out_shardings=rows
        )
        self.update = self.layout.jit(
            step, donate_argnums=0, out_shardings=(shardings(self.start()), whole, rows)
        )

    def start(self) -> TrainState:
        """The state before the first step: the reference is a copy of what is trained."""
        seed, layout = self.config.seed, self.layout
        return start(self.trained, self.optimizer, seed, layout, with_reference=True)

    def advance(
        self, state: TrainState, batch: Batch, metrics: MetricsWriter
    ) -> tuple[TrainState, dict[str, Any]]:
        """One step on a batch of prompts; writes the rollout's table when it is due."""
        clock = _Clock()
        step = int(jax.device_get(state.step))
        with jax.transfer_guard("disallow"):
            with clock("rollout"):
                prompts, media, rollout = self._respond(state, batch)
            with clock("oracle"):
                texts = [[self.encoder.decode(ids) for ids in group] for group in rollout.ids]
                rankings = self._ask(batch["items"], texts)
            with clock("score"):
                judged = self.layout.rows(self._judged(rankings))
            with clock("update"):
                ranked_batch = RankedBatch(media, *prompts, *self.layout.rows(rollout), *judged)
                state, values, ranked = self.update(state, self.frozen, self.banned, ranked_batch)
                values, ranked = jax.device_get(values), self.layout.local_rows(ranked)
        if (step + 1) % self.config.rl.rollouts_every == 0 or step == 0:
            table = rollout_rows(step + 1, batch["items"], texts, rankings, ranked)
            self._show(step + 1, processes.gather_rows(table), metrics)
        values |= self._host_metrics(step, texts, rollout, rankings) | clock.seconds()
        tokens = float(rollout.mask.sum())
        values["tokens_per_second"] = tokens / sum(clock.seconds().values())
        return self._refresh_reference(state, step + 1), values

    def _show(self, step: int, rows: list[dict[str, Any]], metrics: MetricsWriter) -> None:
        """The table of a rollout and its distributions, of the prompts of all processes."""
        if not processes.is_writer():
            return
        write_rollouts(self.workdir / "rollouts" / f"{step}.jsonl", rows)
        for name in ("advantages", "penalties"):
            metrics.histogram(step, name, [row[name] for row in rows])

    def _respond(
        self, state: TrainState, batch: Batch
    ) -> tuple[tuple[Array, Array], Array, Rollout]:
        """Prompts and media on the device, the rollout on the host."""
        names = ("frames", "prompt_ids", "prompt_mask")
        frames, ids, mask = self.layout.rows([batch[name] for name in names])
        media = self.encode(state.trained, self.frozen, frames)
        rollout = self.rollout(state, self.frozen, self.banned, media, ids, mask)
        rollout = self.layout.local_rows(rollout)
        check_whole_groups(rollout.ids.shape[0] * rollout.ids.shape[1], self.config.rl.group_size)
        return (ids, mask), media, rollout

    def _rollout(
        self,
        model: VLM,
        adapter_trained: bool,
        state: TrainState,
        frozen: dict[str, Any],
        banned: Array,
        media: Array,
        prompt_ids: Array,
        prompt_mask: Array,
    ) -> Rollout:
        params = combine(frozen, policy_of(state.trained))
        if adapter_trained:
            media = model.apply({"params": params}, media, method=VLM.adapt)
        rl = self.config.rl
        return sample(
            model, params, media, prompt_ids, prompt_mask, banned, state.step_key(),
            group_size=rl.group_size, max_tokens=rl.max_response_tokens,
            temperature=rl.temperature, end_id=self.encoder.end_id, pad_id=self.encoder.pad_id,
        )  # fmt: skip

    def _ask(self, items: Sequence[Batch], texts: list[list[Text]]) -> list[Ranking]:
        oracle = self.config.oracle
        requests = make_requests(items, texts, self.config.data.folder)
        rankings = ask(self.oracle, requests, oracle.policy)
        limit = oracle.get("halt_above", 1.0)
        if self._invalid_share(rankings) <= limit:
            return rankings
        logging.warning("asking the Oracle again in %g seconds", oracle.pause_seconds)
        time.sleep(oracle.pause_seconds)
        rankings = ask_again(self.oracle, requests, rankings, oracle.policy)
        if (share := self._invalid_share(rankings)) > limit:
            reason = next((r.reason for r in rankings if not r.valid), "see the other processes")
            raise TrainingHalted(
                f"{share:.0%} of the groups have no ranking ({reason}), above oracle.halt_above = "
                f"{limit:g}. Saved before the update; the same command asks again."
            )
        return rankings

    @staticmethod
    def _invalid_share(rankings: list[Ranking]) -> float:
        """Of the groups of all processes."""
        everyone = processes.gather_rows([ranking.valid for ranking in rankings])
        return 1 - sum(everyone) / len(everyone)

    def _judged(self, rankings: list[Ranking]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ranks and scores float32 [B, G], validity bool [B]."""
        algorithm = self.config.rl.algorithm
        if algorithm in NEED_SCORES and any(r.valid and not r.scores for r in rankings):
            raise UserError(
                f"config.rl.algorithm is {algorithm}, which needs scores, and the Oracle "
                f"{self.config.oracle.name} gives an order alone; choose grpo_rank, or an Oracle "
                "that gives scores"
            )
        ranks = np.array([r.ranks for r in rankings], np.float32)
        scores = np.array([r.scores or (0.0,) * len(r.ranks) for r in rankings], np.float32)
        return ranks, scores, np.array([r.valid for r in rankings])

    def _host_metrics(
        self,
        step: int,
        texts: list[list[Text]],
        rollout: Rollout,
        rankings: list[Ranking],
    ) -> dict[str, float]:
        distinct = [len({text for text, _ in group}) / len(group) for group in texts]
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            rate = float(self.schedule(np.asarray((step + 1) * self.updates - 1)))
        return {
            "learning_rate": rate,
            "oracle/valid_fraction": float(np.mean([r.valid for r in rankings])),
            "oracle/seconds": float(sum(r.seconds for r in rankings)),
            "oracle/retries": 0.0,  # a local Oracle is asked once, and has no cache
            "oracle/cache_hit_fraction": 0.0,
            **getattr(self.oracle, "take_stats", dict)(),
            "response/length_mean": float(rollout.mask.sum(axis=-1).mean()),
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


def total_steps(rl: ConfigDict, items: int) -> int:
    """Steps of the stage: of `rl.epochs` passes over the prompts or, where that is 0, `rl.steps`.

    Example: with 4 epochs of 100 prompts and a batch size of 64 there are 6.
    """
    epochs = rl.get("epochs", 0)
    return max(epochs * items // rl.batch_size, 1) if epochs else rl.steps


def _encode(
    model: VLM,
    adapter_trained: bool,
    trained: dict[str, Any],
    frozen: dict[str, Any],
    frames: Array,
) -> Array:
    """Visual tokens; features where the adapter is trained and must stay in the update's graph."""
    variables = {"params": combine(frozen, policy_of(trained))}
    features = model.apply(variables, frames, method=VLM.encode)
    return features if adapter_trained else model.apply(variables, features, method=VLM.adapt)


@dataclasses.dataclass
class _Clock:
    """Seconds of the parts of a step, by the names of the metrics."""

    spent: dict[str, float] = dataclasses.field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.spent[f"time/{name}"] = time.perf_counter() - begin

    def seconds(self) -> dict[str, float]:
        return dict(self.spent)


def train(config: ConfigDict, workdir: str, cache: FrameCache | None = None) -> TrainState:
    """Runs the stage "rl" in `workdir`, from the checkpoint `config.rl.init_from`.

    Args:
      cache: decoded frames that several runs share; by default a new one.

    Raises:
      UserError: missing data, tokenizer or checkpoint; rules that train nothing.
      TrainingHalted: after saving, on an alarm that stops (`config.monitors.stop_on`).
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    rl = config.rl
    assembly = assemblies.assemble(config, lora=True)
    base = rl.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    pretrained = assemblies.load_params(base, assembly.layout)
    params = assemblies.initial_params(config, assembly, config.seed, pretrained)
    items = open_split(config.data.folder, "train")
    cache = FrameCache(config.data.cache_mb) if cache is None else cache
    oracle = make_oracle(config.oracle.to_dict(), device_oracles(config, cache))
    learner = Learner(config, assembly, params, oracle, workdir, len(items))
    evaluator = Evaluator(config, assembly, cache)
    stage = loop.Stage(
        name="rl",
        advance=learner.advance,
        validate=lambda state: evaluator.validation(
            combine(learner.frozen, policy_of(state.trained))
        ),
        steps=learner.steps,
        seconds=rl.seconds,
        validate_every=rl.validate_every,
        base=assemblies.base_reference(workdir, base),
        monitors=Monitors(config.monitors),
        sections=("rl", "oracle"),
    )
    with make_loader(config, assembly, items, cache) as batches:
        return loop.run(stage, config, workdir, learner.start(), batches)


def make_loader(
    config: ConfigDict, assembly: assemblies.Assembly, items: Items, cache: FrameCache
) -> Loader:
    """Prompts, shuffled anew every epoch."""
    data = config.data
    return pipeline.make_loader(
        items,
        encoder=assembly.encoder,
        frames=data.frames,
        image_size=data.image_size,
        framing=data.get("framing", "crop"),
        video_folder=data.folder,
        batch_size=config.rl.batch_size,
        seed=config.seed,
        workers=data.workers,
        bad_video=data.bad_video,
        cache=None if data.workers else cache,
        answers=None,
        **processes.share(),
    )
