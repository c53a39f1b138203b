"""One whole GRPO step beside TRL's: the same weights, the same tokens, in turn.

Ours is a rollout, scores on the host, and the update with its reference. Text alone: no prompt
holds a video, so that TRL can read it; ours still carries a row of media, which nothing attends to.
"""

import pathlib
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from orl_jax.benchmark import peer_model
from orl_jax.benchmark.held import Held
from orl_jax.benchmark.peer_model import Sizes
from orl_jax.benchmark.programs import Programs
from orl_jax.benchmark.stages import call_of
from orl_jax.benchmark.timing import Timing, ratios, seconds, timed
from orl_jax.errors import Failure, UserError
from orl_jax.models.params import count
from orl_jax.training.ranked_batch import RankedBatch
from orl_jax.training.scorer import Scorer

TOLERANCE = 1e-4  # nats, between log-probabilities of one token
_PARTS = ("rollout", "reward", "update")


def compare(
    name: str, config: ConfigDict, sizes: Sizes, repeats: int, progress: Callable[[], Any]
) -> dict[str, Any]:
    """Runs both sides in turn.

    Args:
      name: "trl".
      config: `configs/imported.py`.
      repeats: steps of each side after the first, which is the warm-up.
      progress: called after each pair of steps.

    Returns:
      Seconds of both sides, whole and by part, their ratio, tokens a second, what was compared.

    Raises:
      UserError: another peer; TRL is not installed; another config.
      Failure: the two sides are not the same model.
    """
    trl = _peer(name)
    if "weights" not in config:
        raise UserError("--peer imports its model: take --config=configs/imported.py")
    config = config.copy_and_resolve_references().unlock()
    with tempfile.TemporaryDirectory() as place:
        folder = peer_model.make_folder(pathlib.Path(place) / "model", sizes)
        prompts, ids = peer_model.texts(folder, sizes)
        shapes, params = peer_model.import_folder(config, folder, sizes)
        held = Held(shapes, Programs(shapes), params, ids)
        gap = check_same(held, folder)
        ours = OurSteps(held, trl.reward)

        def between() -> None:  # each of theirs but the warm-up follows one of ours
            ours.run()
            progress()

        theirs = trl.train(folder, prompts, sizes, repeats + 1, between)[1:]
        reference = timed(call_of("score", held), max(repeats // 2, 1))
        return _summary(held, sizes, gap, ours, theirs, reference)


def check_name(name: str) -> None:
    """Refuses a peer that there is not.

    Raises:
      UserError: names the one that there is.

    Example: `check_name("trl")`.
    """
    if name != "trl":
        raise UserError(f"--peer={name}; the one there is is trl")


def _peer(name: str) -> Any:
    check_name(name)
    try:
        from orl_jax.benchmark import peer_trl
    except ImportError as error:
        raise UserError(
            f"--peer=trl needs TRL, PEFT and torch ({error}): pip install -e '.[torch,peers]'"
        ) from error
    return peer_trl


class OurSteps:
    """Our side: steps one after the other, each taken apart.

    Attributes:
      found: seconds of each step, whole and by part; the warm-up is not among them.
      compilation: seconds, of both programs.
    """

    def __init__(self, held: Held, reward: Callable[..., list[float]]) -> None:
        self.found: list[dict[str, float]] = []
        self._held, self._reward = held, reward
        programs = [held.programs[name] for name in ("rollout", "update")]
        self._rollout, self._update = (program.run for program in programs)
        self.compilation = sum(program.seconds for program in programs)
        self._state = held.fresh(held.state.trained)
        self._number = held.shapes.layout.replicate(np.zeros((), np.int32))
        self.run()
        self.found.clear()

    def run(self) -> None:
        """One step."""
        names = iter(_PARTS)
        self._sampled = self._judged = None
        calls = (self._sample, self._judge, self._learn)
        spent = {name: seconds(call) for name, call in zip(names, calls, strict=True)}
        self.found.append({"total": sum(spent.values()), **spent})

    def _sample(self) -> Any:
        held = self._held
        args = (self._state, held.frozen, held.banned, held.media, *held.prompts, self._number)
        self._sampled = self._rollout(*args)
        return self._sampled

    def _judge(self) -> Any:
        ids = self._held.shapes.layout.local_rows(self._sampled.ids)
        flat = self._reward(completion_ids=ids.reshape(-1, ids.shape[-1]).tolist())
        scores = np.array(flat, np.float32).reshape(ids.shape[:2])
        ranks, _, valid = self._held.judged(len(ids))
        self._judged = self._held.shapes.layout.rows((ranks, scores, valid))
        return self._judged

    def _learn(self) -> Any:
        held = self._held
        batch = RankedBatch(held.media, *held.prompts, *self._sampled, *self._judged)
        self._state, *rest = self._update(self._state, held.frozen, held.banned, batch)
        return self._state, rest


def check_same(held: Held, folder: pathlib.Path) -> float:
    """The largest gap between log-probabilities of the same tokens on both sides, in nats.

    Raises:
      Failure: it is above `TOLERANCE`.
    """
    ours, batch = our_log_probs(held), held.batch
    gap = float(np.abs(ours - their_log_probs(folder, batch)).max())
    if not gap <= TOLERANCE:
        raise Failure(f"the two sides differ by {gap:.1e} nats in one token: not the same model")
    return gap


def our_log_probs(held: Held) -> np.ndarray:
    """[B, G, T], at temperature 1, nothing banned."""
    scorer, banned = Scorer(held.model, 1.0), jnp.zeros_like(held.banned)

    def score(params: dict[str, Any], batch: RankedBatch) -> jax.Array:
        return scorer.log_probs(scorer.states(params, batch), banned, batch).log_prob

    return np.asarray(jax.jit(score)(held.params, held.batch))


def their_log_probs(folder: pathlib.Path, batch: RankedBatch) -> np.ndarray:
    """[B, G, T], of transformers, each prompt and answer as one row."""
    import torch

    from orl_jax.benchmark.peer_trl import load

    answers = np.asarray(batch.response_ids)
    prompts = np.repeat(np.asarray(batch.prompt_ids), answers.shape[1], axis=0)
    rows = torch.from_numpy(np.concatenate([prompts, answers.reshape(len(prompts), -1)], 1)).long()
    length = answers.shape[-1]
    with torch.no_grad():
        logits = load(folder)(rows, logits_to_keep=length + 1).logits[:, :-1]
    found = logits.log_softmax(-1).gather(-1, rows[:, -length:, None])[..., 0]
    return found.numpy().reshape(answers.shape)


def _summary(
    held: Held,
    sizes: Sizes,
    gap: float,
    ours: OurSteps,
    theirs: list[dict[str, float]],
    reference: Timing,
) -> dict[str, Any]:
    mine, other = _timing(ours.found, "total"), _timing(theirs, "total")
    rates = {name: sizes.tokens / t.median for name, t in (("ours", mine), ("theirs", other))}
    return {
        "peer": "trl",
        "sizes": sizes.__dict__ | {"parameters": count(held.params["language"])},
        "largest_gap": gap,
        "ours": mine.to_dict() | {"parts": _parts(ours.found)},
        "reference_in_update": reference.to_dict(),
        "theirs": other.to_dict() | {"parts": _parts(theirs)},
        "ratio": ratios(other, mine).to_dict(),
        "tokens_per_second": rates,
        "compilation": ours.compilation,
    }


def _timing(found: list[dict[str, float]], name: str) -> Timing:
    return Timing(tuple(seconds[name] for seconds in found))


def _parts(found: list[dict[str, float]]) -> dict[str, float]:
    """The median of each part."""
    names = [name for name in found[0] if name != "total"]
    return {name: statistics.median(step[name] for step in found) for name in names}
