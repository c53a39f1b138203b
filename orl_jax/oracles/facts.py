"""The Oracle that counts the facts of a description.

It reads an answer as `orl_jax.data.world.facts` does: who is there, where, what it does, when, and
which event is first. Facts that are right, wrong and missing are counted against those of the
reference answer; precision and recall have equal weight. Length and wording do not count: a longer
answer is better only if it states more that is right.

Other questions of the embedded world, whose answers are right or wrong, are left to the reference
Oracle.
"""

from orl_jax.data.world.facts import compare, statements
from orl_jax.data.world.question import TASK_TYPES
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.reference import ReferenceOracle


class FactsOracle(ReferenceOracle):
    """Orders descriptions by `Tally.score`, ties included, in [0, 1].

    As with the reference Oracle, truncated answers come below complete ones, so that breaking off
    never pays: theirs is half the score minus 1.

    Example: for the reference "A red circle moves up." the responses ("The red circle goes up.",
    "A red circle moves down.", "There is a red circle.", "Nothing.") have the scores
    (1, 1 / 2, 2 / 3, 0) and the ranks (0, 2, 1, 3).
    """

    def _rank_one(self, request: RankRequest) -> Ranking:
        if request.task_type in TASK_TYPES:
            return super()._rank_one(request)
        reference = request.reference or ""
        if not statements(reference):
            return Ranking.invalid("the reference answer states no facts", request.size)
        tallies = [compare(text, reference) for text in request.responses]
        scores = [
            tally.score / 2 - 1 if cut else tally.score
            for tally, cut in zip(tallies, request.truncated, strict=True)
        ]
        raw = " | ".join(
            f"{each.right} right, {each.wrong} wrong, {each.missing} missing" for each in tallies
        )
        return Ranking.from_scores(scores, raw=raw)
