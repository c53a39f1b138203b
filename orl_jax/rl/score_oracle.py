"""Trained models as Oracles: a ranker, of which only the order counts, and a reward model.

They live on the device and so outside `orl_jax.oracles`; `device_oracles` hands them to
`make_oracle`. They are sharded as the policy is, and asked in one batched call a step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.video import ClipFormat
from orl_jax.data.video_settings import VideoSettings
from orl_jax.models import assembly as assemblies
from orl_jax.models.assembly import stored_config
from orl_jax.models.beginning import check_tokenizer
from orl_jax.models.params import partition
from orl_jax.oracles import OracleSettings, Ranking, RankRequest
from orl_jax.rl import score_model
from orl_jax.rl.answers import AnswersReader
from orl_jax.rl.tiers import tiers
from orl_jax.run.errors import UserError


class Trained(NamedTuple):
    """A kind of trained Oracle: the stage that trains it, its section, whether its scores count."""

    stage: str
    section: str
    scores: bool


REWARD = "reward"
TRAINED = {
    "reward": Trained("reward", "reward", True),
    "ranker": Trained("oracle", "ranker", False),
}


class ScoreOracle:
    """Orders answers by the scores of a checkpoint; one batched call a step.

    Args:
      kind: what was trained.
      checkpoint: WORKDIR/checkpoints/STAGE[/STEP].
      folder: of the data; its tokenizer is used where the checkpoint's config names none.
      cache: decoded frames, shared with the policy's loader.
      mesh: sizes of the device mesh by axis; None has all devices along `data`.
      tie_margin: where only the order counts, scores no further apart are tied, in log-odds of
        being better; see `tiers`.

    Raises:
      UserError: the checkpoint is missing, or not of a ranker or reward model.
    """

    def __init__(
        self,
        kind: Trained,
        checkpoint: str,
        folder: str,
        cache: FrameCache,
        mesh: Mapping[str, int] | None = None,
        tie_margin: float = 0.0,
    ) -> None:
        settings = stored_config(checkpoint, mesh).unlock()
        settings.data.folder = folder
        assembly = assemblies.assemble(settings, lora=True)
        self._kind = kind
        self._tie_margin = tie_margin
        self._layout = assembly.layout
        pretrained = assemblies.load_params(checkpoint, self._layout)
        check_tokenizer(pretrained, checkpoint, assembly.encoder)
        params = assemblies.initial_params(assembly, settings.seed, pretrained)
        heads = self._layout.replicate(assemblies.load_auxiliary(checkpoint, "heads"))
        adapters, self._frozen = partition(params, settings[kind.section].trainable)
        self._trained = {**adapters, "heads": heads}
        self._scores = self._layout.jit(
            partial(score_model.scores, assembly.model), out_shardings=self._layout.batch
        )
        clip = ClipFormat.of(settings.data)
        self._reader = AnswersReader(
            videos=VideoSettings(folder="", clip=clip),  # requests hold whole paths
            response_length=settings.rl.max_response_tokens,
            encoder=assembly.encoder,
            cache=cache,
        )

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request; invalid where its video cannot be read."""
        examples = [self._reader(_item(request)) for request in requests]
        # Keeps the shape: nothing is compiled again, and no other process waits for this one.
        stand_in = self._reader.empty(requests[0].size)
        rows = [example if "frames" in example else stand_in for example in examples]
        batch = {name: np.stack([row[name] for row in rows]) for name in stand_in}
        answers = self._layout.rows(score_model.Answers.from_batch(batch))
        scores = self._layout.local_rows(self._scores(self._trained, self._frozen, answers))
        return [
            self._ranking(row.tolist()) if "frames" in example else _unreadable(example, request)
            for row, example, request in zip(scores, examples, requests, strict=True)
        ]

    def _ranking(self, scores: list[float]) -> Ranking:
        if not all(map(math.isfinite, scores)):
            return Ranking.invalid("scores that are not finite numbers", len(scores))
        if self._kind.scores:
            return Ranking.from_scores(scores)
        return Ranking.from_order(tiers(scores, self._tie_margin), len(scores))


def _item(request: RankRequest) -> dict[str, Any]:
    answers = list(zip(request.responses, request.truncated, strict=True))
    return {
        "item_id": request.prompt_id,
        "video": request.video or "",
        "question": request.question,
        "answers": answers,
    }


def _unreadable(example: dict[str, Any], request: RankRequest) -> Ranking:
    reason = example.get("user_error") or " ".join(example["bad_video"])
    return Ranking.invalid(reason, request.size)


def device_oracles(
    folder: str, cache: FrameCache, mesh: Mapping[str, int] | None = None
) -> dict[str, Callable[[OracleSettings], ScoreOracle]]:
    """Oracles that need the device, by name, for `make_oracle`.

    Args:
      folder: of the data.
      cache: decoded frames, shared with the policy's loader.
      mesh: sizes of the device mesh by axis; None has all devices along `data`.
    """

    def make(name: str, settings: OracleSettings) -> ScoreOracle:
        checkpoint = checked_checkpoint(name, settings.checkpoint)
        return ScoreOracle(TRAINED[name], checkpoint, folder, cache, mesh, settings.tie_margin)

    return {name: partial(make, name) for name in TRAINED}


def checked_checkpoint(name: str, checkpoint: str) -> str:
    """The checkpoint of a trained Oracle.

    Raises:
      UserError: it is "".
    """
    if not checkpoint:
        raise UserError(
            f"oracle.name is {name}, but oracle.checkpoint is empty; for example "
            f"--config.oracle.checkpoint=runs/demo/checkpoints/{TRAINED[name].stage}"
        )
    return checkpoint
