"""Groups of answers as JSON lines: they round-trip, and bad lines are named."""

import json

import pytest

from orl_jax.oracles import Ranking, RankRequest
from orl_jax.oracles.groups import read_groups, to_row
from orl_jax.run.errors import UserError

REQUEST = RankRequest(
    "p0", "Red?", ("yes", "no\u2028way", "no"), (False, True, False), video="videos/0.mp4",
    reference="yes", paraphrases=("it is",), task_type="colour", narrative="a red square",
)  # fmt: skip
RANKINGS = [
    None,
    Ranking((0.0, 1.5, 1.5)),
    Ranking.from_scores([0.5, 0.25, 0.0]),
    Ranking.invalid("timed out", 3),
]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_groups_round_trip(tmp_path):
    path = write(tmp_path / "g.jsonl", *(to_row(REQUEST, ranking) for ranking in RANKINGS))
    assert read_groups(path) == [(REQUEST, ranking) for ranking in RANKINGS]


def test_videos_are_relative_to_the_folder(tmp_path):
    path = write(tmp_path / "g.jsonl", to_row(REQUEST, None))
    assert read_groups(path, "data")[0].request.video == "data/videos/0.mp4"


def test_three_fields_are_enough(tmp_path):
    path = write(tmp_path / "g.jsonl", {"prompt_id": 7, "question": "Q", "responses": ["a", "b"]})
    ((request, ranking),) = read_groups(path)
    assert (request.prompt_id, request.responses, request.video) == ("7", ("a", "b"), None)
    assert ranking is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"responses": []}, "line 2.*at least one"),
        ({"responses": "abc"}, "line 2.*list of strings"),
        ({"oracle_ranks": [0.0, 1.0]}, "line 2.*2 oracle_ranks for 3"),
        ({"oracle_ranks": [0.0, 0.0, 1.0]}, "line 2.*0 is the best, and tied"),
        ({"truncated": [True]}, "line 2.*1 truncated"),
        ({"truncated": "yes"}, "truncated must be a list of true and false, not 'yes'"),
        ({"paraphrases": "Yes"}, "paraphrases must be a list of strings such as .*, not 'Yes'"),
        ({"paraphrases": [1]}, "paraphrases must be a list of strings"),
        ({"question": ["Red?"]}, "question must be a string"),
        ({"video": 7}, "video must be a string"),
        ({"reference": {}}, "reference must be a string"),
        ({"responses": ["a"] * 2000}, "2000 responses; at most 1024"),
        ({"oracle_ranks": "012"}, "oracle_ranks must be a list of numbers"),
        ({"oracle_ranks": [0, True, 2]}, "oracle_ranks must be a list of numbers"),
        ({"oracle_ranks": [0, 1, 2], "oracle_scores": ["3", 2, 1]}, "oracle_scores must be"),
    ],
)
def test_a_bad_line_is_named(tmp_path, change, message):
    path = write(tmp_path / "g.jsonl", to_row(REQUEST, None), to_row(REQUEST, None) | change)
    with pytest.raises(UserError, match=message):
        read_groups(path)


def test_a_line_that_is_not_an_object_is_named(tmp_path):
    (tmp_path / "g.jsonl").write_text('["a"]\n')
    with pytest.raises(UserError, match="line 1"):
        read_groups(tmp_path / "g.jsonl")


def test_a_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\x00\xff\xfe")
    with pytest.raises(UserError, match="clip.mp4 is not UTF-8 text"):
        read_groups(tmp_path / "clip.mp4")


def test_a_missing_or_empty_file_is_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    for name, message in (("none.jsonl", "rollouts/STEP.jsonl"), ("empty.jsonl", "holds no")):
        with pytest.raises(UserError, match=message):
            read_groups(tmp_path / name)
