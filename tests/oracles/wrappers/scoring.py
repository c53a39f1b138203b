"""An Oracle for the tests of wrappers: responses are their own scores."""

from orl_jax.oracles import Ranking, RankRequest


class Reader:
    """Scores every response by its number; a group with "bad" is invalid."""

    def rank(self, requests):
        """One ranking per request."""
        return [self.rank_one(request) for request in requests]

    def rank_one(self, request):
        """With a raw answer and seconds, which wrappers should keep."""
        if "bad" in request.responses:
            return Ranking.invalid("bad", request.size, raw="said", seconds=2.0)
        return Ranking.from_scores([float(r) for r in request.responses], raw="said", seconds=2.0)


class Orderer(Reader):
    """The same order without the scores."""

    def rank_one(self, request):
        """Only the ranks."""
        said = super().rank_one(request)
        if not said.valid:
            return said
        return Ranking(said.ranks, raw=said.raw, seconds=said.seconds)


def request(*scores, prompt_id="p"):
    """A request whose responses are these numbers."""
    return RankRequest(prompt_id, "?", tuple(str(score) for score in scores))
