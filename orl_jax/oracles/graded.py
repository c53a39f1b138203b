"""The reference Oracle, but wrong answers are graded: near misses come before far ones.

`reference` ties all wrong answers, so many of its groups have only two levels. A judge that grades
tells more answers apart. Here a wrong answer is better

* the more words it shares with an accepted answer (shared / max(length), as "The circle moves up."
  does with "The circle moves down."), and
* the nearer its value is to the right one on a scale ("two" is nearer to "three" than "no" is).

Every right answer stays above every wrong one, and every complete answer above every truncated one,
so that a near miss never outranks them.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from orl_jax.data.text.answer_text import normalise
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.reference import Level, ReferenceOracle, grade_responses

Scale = tuple[str, ...]
FARTHEST = -0.4  # quality of a complete answer that has nothing in common with an accepted one


@dataclasses.dataclass(frozen=True)
class GradedOracle(ReferenceOracle):
    """Orders responses as `ReferenceOracle` does, but wrong ones by `nearness`.

    Its scores are those of `ReferenceOracle` for right answers; a wrong answer has
    FARTHEST * (1 - nearness), in [-0.4, 0), a truncated one half of that minus 1.

    Args:
      scales: ordered values, at least two each, for example
        (("no", "one", "two", "three"), ("near the start", "halfway", "near the end")).

    Raises:
      ValueError: a scale with fewer than two values or duplicates.

    Example: for the reference "There are three." and the scale of numbers, the responses
    ("There are three.", "There are two.", "There are no.", "yes") have the ranks (0, 1, 2, 3).
    """

    scales: tuple[Scale, ...] = ()

    def __post_init__(self) -> None:
        words = [tuple(normalise(value) for value in scale) for scale in self.scales]
        for scale in words:
            if len(scale) < 2 or len(set(scale)) < len(scale):
                raise ValueError(f"scales has {scale}; a scale is two or more different values")
        object.__setattr__(self, "scales", tuple(words))

    def _rank_one(self, request: RankRequest) -> Ranking:
        if not normalise(request.reference or ""):
            return super()._rank_one(request)  # invalid, with its reason
        scores = []
        for text, grade in zip(request.responses, grade_responses(request), strict=True):
            quality = grade.quality
            if grade.level == Level.WRONG:
                miss = FARTHEST * (1 - self._nearness(text, request))
                quality += miss if grade.complete else miss / 2
            scores.append(quality)
        return Ranking.from_scores(scores, raw=" | ".join(f"{score:.3f}" for score in scores))

    def _nearness(self, response: str, request: RankRequest) -> float:
        accepted = (request.reference or "", *request.paraphrases)
        return max(nearness(response, text, request.question, self.scales) for text in accepted)


def nearness(said: str, accepted: str, question: str, scales: Sequence[Scale]) -> float:
    """How near a wrong answer comes to an accepted one, in [0, 1).

    The mean of the share of common words, as in `orl_jax.oracles.reference`, and of
    1 - distance / (values of the scale - 1), which is 0 where the answers do not each name one
    value of the same scale. Values in the question are not counted.

    Example: 0.5 * 3 / 4 + 0.5 * (1 - 1 / 3) for "There are two things", "There are three things".
    """
    ours, theirs, asked = (normalise(text) for text in (said, accepted, question))
    words, wanted = ours.split(), theirs.split()
    shared = (Counter(words) & Counter(wanted)).total() / max(len(words), len(wanted), 1)
    best = 0.0
    for scale in scales:
        places = [_only(_values(text, scale, asked)) for text in (ours, theirs)]
        if None not in places:
            best = max(best, 1 - abs(places[0] - places[1]) / (len(scale) - 1))
    return (shared + best) / 2


def _values(text: str, scale: Scale, asked: str) -> Iterator[int]:
    """Positions on the scale of the values that are in a text but not in the question."""
    for place, value in enumerate(scale):
        if f" {value} " in f" {text} " and f" {value} " not in f" {asked} ":
            yield place


def _only(places: Iterator[int]) -> int | None:
    """The only position, or None: an answer that names several values asserts none."""
    found = list(places)
    return found[0] if len(found) == 1 else None
