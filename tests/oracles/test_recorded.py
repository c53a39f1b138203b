"""Orders from a file: found by question, answers and video, whatever the order of the answers."""

import json

import pytest

from orl_jax.oracles import Ranking, RankRequest, make_oracle
from orl_jax.oracles.groups import to_row
from orl_jax.run.errors import UserError

QUESTION = "What colour?"


def request(*responses, video=None, question=QUESTION):
    return RankRequest("anything", question, responses, video=video)


@pytest.fixture
def oracle(tmp_path):
    """Makes the Oracle of some (request, order or ranking) pairs."""

    def make(*pairs):
        path = tmp_path / "anna.jsonl"
        rows = [
            to_row(
                r, said if isinstance(said, Ranking | None) else Ranking.from_order(said, r.size)
            )
            for r, said in pairs
        ]
        path.write_text("".join(json.dumps(row | {"ranker": "anna"}) + "\n" for row in rows))
        return make_oracle({"name": "recorded", "recorded": str(path)})

    return make


def test_answers_are_found_in_any_order_and_number(oracle):
    anna = oracle((request("red", "blue", "green"), [1, [0, 2]]))
    asked = [request("green", "red", "blue"), request("blue", "blue", "green", "red")]
    assert [ranking.ranks for ranking in anna.rank(asked)] == [(1.5, 1.5, 0), (0.5, 0.5, 2.5, 2.5)]
    assert all(ranking.valid and not ranking.scores for ranking in anna.rank(asked))


@pytest.mark.parametrize(
    "other",
    [
        request("red", "blue", question="What shape?"),
        request("red", "green"),
        request("red", "blue", "green"),
        request("red", "red"),
        request("red", "blue", video="data/videos/1.mp4"),
        request("red", "blue", video="other0.mp4"),
    ],
)
def test_what_is_not_in_the_file_is_invalid(oracle, other):
    anna = oracle((request("red", "blue", video="videos/0.mp4"), [0, 1]))
    (ranking,) = anna.rank([other])
    assert not ranking.valid and ranking.reason.startswith("not in ")
    assert ranking.reason.endswith("anna.jsonl")


def test_the_video_counts_if_both_have_one(oracle):
    anna = oracle(
        (request("red", "blue", video="videos/0.mp4"), [0, 1]),
        (request("red", "blue", video="videos/1.mp4"), [1, 0]),
        (request("red", "blue"), [[0, 1]]),
    )
    videos = ["data/shapes/videos/0.mp4", "./videos/1.mp4", "videos/2.mp4"]
    asked = [request("red", "blue", video=video) for video in videos]
    assert [ranking.ranks for ranking in anna.rank(asked)] == [(0, 1), (1, 0), (0.5, 0.5)]


def test_the_last_line_counts_also_if_it_is_skipped(oracle):
    group = request("red", "blue")
    assert oracle((group, [0, 1]), (group, [1, 0])).rank([group])[0].ranks == (1, 0)
    skipped = oracle((group, [0, 1]), (group, Ranking.invalid("skipped by anna", 2)))
    assert skipped.rank([group])[0].reason == "skipped by anna"


def test_identical_answers_with_different_ranks_share_their_mean(oracle):
    anna = oracle((request("red", "blue", "red"), [0, 1, 2]))
    assert anna.rank([request("red", "blue", "red")])[0].ranks == (1, 1, 1)


def test_a_file_without_orders_is_refused(oracle):
    with pytest.raises(UserError, match="have no order"):
        oracle((request("red", "blue"), None))
    with pytest.raises(UserError, match="oracle.recorded is empty"):
        make_oracle({"name": "recorded"})
    with pytest.raises(UserError, match="no groups of answers"):
        make_oracle({"name": "recorded", "recorded": "nowhere.jsonl"})
