"""A policy for a notebook: load a checkpoint, sample a group, rank it yourself, update.

The parts are those of the stage "rl" (`orl_jax.rl.stage`): sampler, scorer, estimator, algorithm.
"""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from orl_jax.data.video import ClipFormat, VideoError, read_frames
from orl_jax.models import assembly as assemblies
from orl_jax.models.params import combine, masters, partition, policy_of
from orl_jax.models.sequences import Prompt
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.sharding.mesh import AXES, make_mesh
from orl_jax.ops.truncation import WHOLE, Truncation
from orl_jax.oracles import Ranking
from orl_jax.rl.batch import Judgement, RolloutBatch
from orl_jax.rl.device_policy import DevicePolicy, Sampling
from orl_jax.rl.direct import DirectLoss
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.grpo_rank import GrpoRank
from orl_jax.rl.policy_loss import PolicyLossSettings
from orl_jax.rl.scorer import Scorer
from orl_jax.run.checkpoint import Checkpoints, locate
from orl_jax.run.checkpoint.pins import pin
from orl_jax.run.errors import UserError
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer
from orl_jax.training.saving import Saving
from orl_jax.training.state import FINITE

LORA = ((".*/lora_[ab]", "train"), (".*", "freeze"))


class Group(NamedTuple):
    """Responses to one question about one video.

    Attributes:
      texts: of the G responses.
      truncated: whether a response ran out of tokens.
      log_probs: one number per response: the sum over its tokens, in nats, under the policy that
        sampled it, at the sampling temperature; not divided by the length.
      batch: the rollout on the devices, one prompt.
    """

    texts: tuple[str, ...]
    truncated: tuple[bool, ...]
    log_probs: tuple[float, ...]
    batch: RolloutBatch


class Policy:
    """A policy on one device with its adapters, reference and optimiser; see `Policy.load`.

    Args:
      assembly: the model with adapters, the encoder of its prompts, and the layout.
      params: of the whole model.
      algorithm: scores responses and makes the update.
      clip: the clips that the model sees.
      max_tokens: T, the most tokens of a response.
      seed: of the noise.
      base: the checkpoint of `params`, and
      config: its configuration as JSON values; both for `save`.

    Attributes:
      state: of the training; an update replaces it.
      params: of the model as it is now.
    """

    def __init__(
        self,
        assembly: assemblies.Assembly,
        params: dict[str, Any],
        algorithm: GrpoRank,
        clip: ClipFormat,
        *,
        max_tokens: int,
        seed: int = 0,
        base: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._assembly = assembly
        self._algorithm = algorithm
        self._clip = clip
        self._max_tokens = max_tokens
        self._base = base
        self._config = dict(config or {})
        self._seed = seed
        trained, self._frozen = partition(params, LORA)
        first = self._make(1, masters(trained))
        self._sized = {1: first}
        self._drawn = 0
        self._saved: set[tuple[pathlib.Path, int]] = set()
        self.state = first.start()

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        learning_rate: float = 1e-3,
        temperature: float = 1.0,
        truncation: Truncation = WHOLE,
        max_tokens: int = 0,
        prompt_tokens: int = 0,
        estimator: Estimator | None = None,
        loss: PolicyLossSettings | None = None,
        direct: DirectLoss | None = None,
        seed: int = 0,
    ) -> "Policy":
        """The policy of a checkpoint, ready to be trained with GRPO_rank.

        Args:
          checkpoint: WORKDIR/checkpoints/STAGE[/STEP] of the stage sft or rl. Adapters that it does
            not have are drawn; a fresh adapter changes nothing until the first update.
          learning_rate: of AdamW, constant.
          temperature, truncation: of sampling and of all log-probabilities.
          max_tokens: T, the most tokens of a response; 0 is what the checkpoint was trained with.
          prompt_tokens: L, the most tokens of a prompt, the video's among them; 0 as before.
          estimator: turns ranks into advantages; by default `Estimator()`.
          loss: clipping, KL and entropy; by default `PolicyLossSettings()`.
          direct: a loss of the order in place of the clipped one, such as `DirectLoss("dpo")`.
          seed: of the noise and of fresh adapters.

        Raises:
          UserError: a checkpoint or tokenizer that is missing or does not fit, a checkpoint that is
            not of a whole model, or a setting that is out of range.

        Example: `Policy.load("runs/demo/checkpoints/sft", learning_rate=2e-3)`.
        """
        for name, value, allowed, limit in (
            ("learning_rate", learning_rate, learning_rate >= 0, "at least 0"),
            ("temperature", temperature, temperature > 0, "greater than 0"),
            ("max_tokens", max_tokens, max_tokens >= 0, "at least 0"),
            ("prompt_tokens", prompt_tokens, prompt_tokens >= 0, "at least 0"),
        ):
            if not allowed:
                raise UserError(f"{name} is {value}; it must be {limit}")
        config = assemblies.stored_config(checkpoint)
        layout = Layout(make_mesh(dict.fromkeys(AXES, 1), jax.devices()[:1]))
        if prompt_tokens:
            with config.unlocked():
                config.data.prompt_tokens = prompt_tokens
        assembly = assemblies.assemble(config, lora=True)._replace(layout=layout)
        pretrained = assemblies.load_policy(checkpoint, assembly)
        params = assemblies.initial_params(assembly, seed, pretrained)
        settings = OptimizerSettings(learning_rate, schedule="constant")
        optimizer = make_optimizer(settings, optax.constant_schedule(learning_rate))
        chunk = config.model.vocabulary_chunk
        scorer = Scorer(assembly.model, temperature, vocabulary_chunk=chunk, truncation=truncation)
        algorithm = GrpoRank(
            scorer, estimator or Estimator(), optimizer, loss or PolicyLossSettings(),
            direct=direct,
        )  # fmt: skip
        return cls(
            assembly, params, algorithm, ClipFormat.of(config.data),
            max_tokens=max_tokens or config.rl.max_response_tokens, seed=seed,
            base=os.fspath(checkpoint), config=Saving.of(config).config,
        )  # fmt: skip

    @property
    def params(self) -> dict[str, Any]:
        """Frozen and trained parameters."""
        return combine(self._frozen, policy_of(self.state.trained))

    def sample(self, video: str | os.PathLike[str], question: str, *, group_size: int = 5) -> Group:
        """Samples responses; each call has fresh noise.

        Args:
          video: path of the file.
          question: as a user would ask it.
          group_size: G; each size compiles once.

        Raises:
          UserError: an unreadable video, a question that is too long, or no responses.
        """
        if not isinstance(group_size, int) or group_size < 1:
            raise UserError(f"group_size is {group_size}; it must be an integer of at least 1")
        policy, rows = self._of_size(group_size), self._assembly.layout.rows
        try:
            frames = read_frames(video, self._clip)
        except VideoError as error:
            raise UserError(f"video {error}") from error
        size, limit = policy.encoder.prompt_size(question), policy.encoder.prompt_length
        if size > limit:
            raise UserError(
                f"the prompt has {size} tokens, those of the video among them, and the limit is "
                f"{limit}; shorten the question, or Policy.load(…, prompt_tokens={size})"
            )
        ids, mask = policy.encoder.encode_prompt(question)
        media = policy.see(self.state, frames[None])
        prompt = rows(Prompt(ids[None], mask[None]))
        batch = policy.respond(self.state, self._drawn, prompt, media, scored=True)
        self._drawn += 1
        (texts,) = policy.texts(batch.responses)
        log_probs = jax.device_get(batch.old_log_prob * batch.responses.mask).sum(axis=-1)
        return Group(*zip(*texts, strict=True), tuple(log_probs[0].tolist()), batch)

    def update(self, group: Group, ranks: Sequence[float]) -> dict[str, float]:
        """One update towards the order of a group's responses.

        Args:
          group: of this policy; it may be some updates old.
          ranks: one finite number for each response, lower is better; equal ones are ties.

        Returns:
          Metrics by the names of docs/metrics.md.

        Raises:
          UserError: not one rank for each response, or one that is not a finite number; a loss or
            gradient that is not finite: the policy is then as it was.
        """
        if len(ranks) != len(group.texts):
            raise UserError(f"{len(ranks)} ranks for a group of {len(group.texts)} responses")
        try:
            scores = [-float(rank) for rank in ranks]
        except (TypeError, ValueError):
            scores = [math.nan]
        if not all(map(math.isfinite, scores)):
            shown = ", ".join(map(str, ranks))
            raise UserError(f"the ranks are {shown}; each must be a finite number")
        ranking = Ranking.from_scores(scores)
        judgement = self._assembly.layout.rows(Judgement.of([ranking]))
        policy, batch = self._of_size(len(ranks)), group.batch._replace(judgement=judgement)
        self.state, metrics, _ = policy.update(self.state, policy.frozen, policy.banned, batch)
        if not jax.device_get(metrics.pop(FINITE)):
            raise UserError(
                "the loss or its gradient is not finite; the update was not made. Load the policy "
                "with a lower learning_rate"
            )
        return {name: float(value) for name, value in jax.device_get(metrics).items()}

    def save(self, workdir: str) -> None:
        """Saves WORKDIR/checkpoints/rl/STEP, which `scripts/evaluate.py` and `load` read.

        STEP counts the updates since `load`.

        Raises:
          UserError: another policy has saved this step or a later one there, which would stay the
            newest.
        """
        step = int(jax.device_get(self.state.step))
        base = assemblies.base_reference(workdir, self._base)
        extra = {"config": self._config, "base": base}
        with Checkpoints(workdir, "rl") as checkpoints:
            newest, place = checkpoints.latest_step(), (checkpoints.folder, step)
            if newest is not None and newest >= step and place not in self._saved:
                raise UserError(
                    f"{checkpoints.folder} has step {newest} of another policy, and this one is at "
                    f"step {step}; choose another folder"
                )
            pin(locate(self._base).path, workdir, "rl")
            checkpoints.save(step, self.state.saved(), extra)
        self._saved.add(place)

    def _of_size(self, group_size: int) -> DevicePolicy:
        """The jitted functions for groups of a size."""
        if group_size not in self._sized:
            self._sized[group_size] = self._make(group_size, self.state.trained)
        return self._sized[group_size]

    def _make(self, group_size: int, trained: dict[str, Any]) -> DevicePolicy:
        encoder = self._assembly.encoder
        sampling = Sampling(group_size, self._max_tokens, encoder.end_id, encoder.pad_id)
        return DevicePolicy(
            self._assembly, self._algorithm, sampling, trained, self._frozen, self._seed
        )
