"""The Oracle that knows the accepted answers.

It orders responses by level: the reference > a paraphrase > partial > wrong; equal levels are tied.
All truncated responses come below all complete ones, so that breaking off never pays.

For "partial", a naive rule fails. "The circle is blue." shares three of four words with "The circle
is red.", and by F1 the fragment "it moves" beats a full wrong sentence. So overlap by itself earns
nothing. A response is partial if it *says what an accepted answer says, and nothing else*, in a
form that is not listed:

* it has all of the accepted answer's key words (those that are neither in the question nor function
  words), equally often and in the same order;
* every other word is from the accepted answer, the question or the function words. So "red and
  blue" or "not red" is wrong, as hedging and negation add other words.

A question that offers choices ("... red or blue?") contains its answers: there its words do not
count as background, and all content words are key words. Partial responses are graded by shared
words / max(length). Wrong ones are all tied: sharing more of the template does not make a wrong
answer better.

The scores of a ranking are the answers' qualities (`Grade.quality`). Like a calibrated reward, they
are comparable between prompts.
"""

import enum
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from orl_jax.data.text.answer_text import normalise
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking

# Words without content of their own. No negations, numbers or directions.
FUNCTION_WORDS = frozenset(
    "a an the it its there this that is are was were of to in on at and".split()
)


class Level(enum.IntEnum):
    """How good an answer is; higher is better."""

    WRONG = 0
    PARTIAL = 1
    PARAPHRASE = 2
    EXACT = 3


class Grade(NamedTuple):
    """Compares as a tuple: completeness, level, and a partial answer's overlap in (0, 1]."""

    complete: bool
    level: Level
    overlap: float = 0.0  # 0 at every other level

    @property
    def quality(self) -> float:
        """The grade as a number in [-1, 1], in the order of grades, comparable between prompts.

        Exact 1, a paraphrase 0.9, partial half its overlap, wrong 0; truncated half of that
        minus 1, so in [-1, -0.5] and below every complete answer.

        Example: `Grade(True, Level.PARTIAL, 0.5).quality == 0.25`, truncated it is -0.875.
        """
        credit = {Level.EXACT: 1.0, Level.PARAPHRASE: 0.9, Level.PARTIAL: 0.5 * self.overlap}
        quality = credit.get(self.level, 0.0)
        return quality if self.complete else quality / 2 - 1


class ReferenceOracle:
    """Ranks the responses of a request by its accepted answers; see the module for the rules.

    Example: for the reference "The circle is red." and the responses ("blue", "the circle is red",
    "red") the ranks are (2.0, 0.0, 1.0) and the scores (0.0, 1.0, 0.125).
    """

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request; invalid where a request has no reference."""
        return [self._rank_one(request) for request in requests]

    def _rank_one(self, request: RankRequest) -> Ranking:
        if not normalise(request.reference or ""):
            return Ranking.invalid("the request has no reference answer", request.size)
        grades = grade_responses(request)
        raw = " | ".join(_describe(grade) for grade in grades)
        return Ranking.from_scores([grade.quality for grade in grades], raw=raw)


def grade_responses(request: RankRequest) -> list[Grade]:
    """The grade of every response of a request that has a reference."""
    pairs = zip(request.responses, request.truncated, strict=True)
    return [Grade(not cut, *_level_and_overlap(text, request)) for text, cut in pairs]


def _level_and_overlap(response: str, request: RankRequest) -> tuple[Level, float]:
    said, question = normalise(response), normalise(request.question).split()
    accepted = [normalise(text) for text in (request.reference, *request.paraphrases)]
    if said and said in accepted:
        return (Level.EXACT if said == accepted[0] else Level.PARAPHRASE), 0.0
    overlap = max(partial_overlap(said.split(), text.split(), question) for text in accepted)
    return (Level.PARTIAL if overlap else Level.WRONG), overlap


def partial_overlap(said: list[str], accepted: list[str], question: list[str]) -> float:
    """Shared words / max(length) if `said` is partial for `accepted`, otherwise 0.

    All three are lists of normalised words.

    Example: "red" shares 1 / 4 with "the circle is red", asked "what colour is the circle".
    """
    background = FUNCTION_WORDS if "or" in question else FUNCTION_WORDS.union(question)
    key_words = [word for word in accepted if word not in background]
    if not key_words or [word for word in said if word in key_words] != key_words:
        return 0.0
    if not background.union(accepted).issuperset(said):
        return 0.0
    return (Counter(said) & Counter(accepted)).total() / max(len(said), len(accepted))


def _describe(grade: Grade) -> str:
    level = grade.level.name.lower() + (f" {grade.overlap:.2f}" if grade.overlap else "")
    return level if grade.complete else f"{level}, truncated"
