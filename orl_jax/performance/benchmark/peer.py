"""Compares one whole GRPO step with a peer's: the same weights and tokens, steps alternating.

Our step is a rollout, scoring on the host, and the update with its reference. Prompts are text
only, so that the peer can read them; our model still carries one token of media, which nothing
attends to.
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

from orl_jax.models.params import count
from orl_jax.performance.benchmark import peer_model
from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.peer_model import Sizes
from orl_jax.performance.benchmark.peer_process import PeerProcess, Seconds, check_name
from orl_jax.performance.benchmark.peers.reward import reward
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.performance.benchmark.stages import call_of
from orl_jax.performance.benchmark.timing import Timing, ratios, seconds, timed
from orl_jax.rl.batch import RolloutBatch
from orl_jax.rl.scorer import Scorer
from orl_jax.run.errors import Failure, UserError

TOLERANCE = 1e-4  # nats, difference in the log-probability of one token
_PARTS = ("rollout", "reward", "update")


def compare(
    name: str,
    config: ConfigDict,
    sizes: Sizes,
    repeats: int,
    progress: Callable[[], Any],
    *,
    python: str = "",
) -> dict[str, Any]:
    """Runs the steps of both sides alternately.

    Args:
      name: one of `peer_process.PEERS`.
      config: `configs/imported.py`.
      repeats: steps of each side after the first, which is the warm-up.
      progress: called after each pair of steps.
      python: the Python of an environment with the peer; "" is this one.

    Returns:
      Seconds of both sides, in total and by part, their ratio, tokens per second, and the sizes.

    Raises:
      UserError: an unknown peer, or one that is not installed; another config.
      Failure: the two sides are not the same model.
    """
    check_name(name, python)
    if "weights" not in config:
        raise UserError("--peer imports its model: use --config=configs/imported.py")
    config = config.copy_and_resolve_references().unlock()
    with tempfile.TemporaryDirectory() as place:
        folder = peer_model.make_folder(pathlib.Path(place) / "model", sizes)
        prompts, ids = peer_model.texts(folder, sizes)
        shapes, params = peer_model.import_folder(config, folder, sizes)
        held = RunArrays(shapes, CompiledSteps(shapes), params, ids)
        with PeerProcess(name, folder, sizes, prompts, python) as other:
            gap = check_same(held, other)
            ours = OurSteps(held)

            def between() -> None:  # each of their steps but the warm-up follows one of ours
                ours.run()
                progress()

            theirs = other.train(repeats + 1, between)[1:]
        reference = timed(call_of("score", held), max(repeats // 2, 1))
        about = {"peer": name, "versions": other.versions}
        return {**about, **_summary(held, sizes, gap, ours, theirs, reference)}


class OurSteps:
    """Our side: consecutive steps, timed by part.

    Attributes:
      found: seconds of each step, in total and by part, without the warm-up.
      compilation: seconds for both programs.
    """

    def __init__(self, held: RunArrays) -> None:
        self.found: list[Seconds] = []
        self._held = held
        programs = [held.programs[name] for name in ("rollout", "update")]
        self._rollout, self._update = (program.run for program in programs)
        self.compilation = sum(program.seconds for program in programs)
        self._state = held.fresh(held.state.trained)
        self._number = held.shapes.layout.replicate(np.zeros((), np.int32))
        self.run()
        self.found.clear()

    def run(self) -> None:
        """Runs one step."""
        names = iter(_PARTS)
        self._responses = self._judgement = None
        calls = (self._sample, self._judge, self._learn)
        spent = {name: seconds(call) for name, call in zip(names, calls, strict=True)}
        self.found.append({"total": sum(spent.values()), **spent})

    def _sample(self) -> Any:
        held = self._held
        args = (self._state, held.frozen, held.banned, held.media, held.prompt, self._number)
        self._responses = self._rollout(*args)
        return self._responses

    def _judge(self) -> Any:
        ids = self._held.shapes.layout.local_rows(self._responses.ids)
        scores = np.array([[reward(answer) for answer in group] for group in ids.tolist()])
        judgement = self._held.judgement(len(ids))._replace(scores=scores.astype(np.float32))
        self._judgement = self._held.shapes.layout.rows(judgement)
        return self._judgement

    def _learn(self) -> Any:
        held = self._held
        batch = RolloutBatch(held.media, held.prompt, self._responses, self._judgement)
        self._state, *rest = self._update(self._state, held.frozen, held.banned, batch)
        return self._state, rest


def check_same(held: RunArrays, peer: PeerProcess) -> float:
    """The largest difference of log-probabilities between the two sides, in nats.

    Raises:
      Failure: it exceeds `TOLERANCE`.
    """
    ours, answers = our_log_probs(held), np.asarray(held.batch.responses.ids)
    prompts = np.repeat(np.asarray(held.batch.prompt.ids), answers.shape[1], axis=0)
    theirs = peer.log_probs(prompts, answers.reshape(len(prompts), -1))
    gap = float(np.abs(ours - theirs.reshape(ours.shape)).max())
    if not gap <= TOLERANCE:
        raise Failure(
            f"the two sides differ by {gap:.1e} nats in one token: they are not the same model"
        )
    return gap


def our_log_probs(held: RunArrays) -> np.ndarray:
    """Log-probabilities [B, G, T] at temperature 1, without banned tokens."""
    scorer, banned = Scorer(held.model, 1.0), jnp.zeros_like(held.banned)

    def score(params: dict[str, Any], batch: RolloutBatch) -> jax.Array:
        return scorer.log_probs(scorer.states(params, batch), banned, batch).log_prob

    return np.asarray(jax.jit(score)(held.params, held.batch))


def _summary(
    held: RunArrays,
    sizes: Sizes,
    gap: float,
    ours: OurSteps,
    theirs: list[Seconds],
    reference: Timing,
) -> dict[str, Any]:
    mine, other = _timing(ours.found, "total"), _timing(theirs, "total")
    rates = {name: sizes.tokens / t.median for name, t in (("ours", mine), ("theirs", other))}
    return {
        "sizes": sizes.__dict__ | {"parameters": count(held.params["language"])},
        "largest_gap": gap,
        "ours": mine.to_dict() | {"parts": _parts(ours.found)},
        "reference_in_update": reference.to_dict(),
        "theirs": other.to_dict() | {"parts": _parts(theirs)},
        "ratio": ratios(other, mine).to_dict(),
        "tokens_per_second": rates,
        "compilation": ours.compilation,
    }


def _timing(found: list[Seconds], name: str) -> Timing:
    return Timing(tuple(seconds[name] for seconds in found))


def _parts(found: list[Seconds]) -> Seconds:
    """The median seconds of each part."""
    names = [name for name in found[0] if name != "total"]
    return {name: statistics.median(step[name] for step in found) for name in names}
