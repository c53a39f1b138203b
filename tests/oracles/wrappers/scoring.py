"""An Oracle for the tests of wrappers: it reads the scores off the responses."""

from orl_jax.oracles import Ranking, RankRequest


class Reader:
    """Scores every response by the number that it is; a group with "bad" in it is invalid."""

    def rank(self, requests):
        """One ranking per request."""
        return [self.rank_one(request) for request in requests]

    def rank_one(self, request):
        """With a raw answer and seconds, to see whether they are kept."""
        if "bad" in request.responses:
            return Ranking.invalid("bad", request.size, raw="said", seconds=2.0)
        return Ranking.from_scores([float(r) for r in request.responses], raw="said", seconds=2.0)


class Orderer(Reader):
    """The same order without the scores."""

    def rank_one(self, request):
        """The ranks alone."""
        said = super().rank_one(request)
        if not said.valid:
            return said
        return Ranking(said.ranks, raw=said.raw, seconds=said.seconds)


def request(*scores, prompt_id="p"):
    """A request whose responses are these numbers."""
    return RankRequest(prompt_id, "?", tuple(str(score) for score in scores))
