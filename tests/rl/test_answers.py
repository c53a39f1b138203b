"""Lists of answers in a known order: from a file of groups, and as arrays."""

import json

import numpy as np
import pytest
from clips import make_encoder, write_clip

from orl_jax.data.video import ClipFormat
from orl_jax.data.video_settings import VideoSettings
from orl_jax.oracles import Ranking, RankRequest
from orl_jax.oracles.groups import to_row
from orl_jax.rl.answers import OrderReader, group_size, read_lists
from orl_jax.run.errors import UserError

ANSWERS = ("It is red.", "It is blue.", "It")
ORDER = Ranking.from_order([1, [0, 2]], 3)


def row(ranking, answers=ANSWERS, video="clip.mp4"):
    truncated = tuple(answer == "It" for answer in answers)
    return to_row(RankRequest("p", "What colour?", answers, truncated, video=video), ranking)


def write(path, *rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_lists_without_anything_to_learn_are_left_out(tmp_path):
    tied, broken = Ranking.from_order([[0, 1, 2]], 3), Ranking.invalid("timed out", 3)
    path = write(tmp_path / "g.jsonl", *map(row, (None, tied, ORDER, broken)))
    (item,) = items = read_lists(path)
    assert item["ranks"] == (1.5, 0.0, 1.5) and item["video"] == "clip.mp4"
    assert item["answers"] == (("It is red.", False), ("It is blue.", False), ("It", True))
    assert group_size(items) == 3


@pytest.mark.parametrize(
    "rows, message",
    [
        ([row(None)], "no group with an order"),
        ([row(ORDER), row(Ranking((0.0, 1.0)), ANSWERS[:2])], r"groups of \[2, 3\] answers"),
        ([row(ORDER, video=None)], "the group p names no video"),
    ],
)
def test_what_a_ranker_cannot_learn_from_is_named(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_lists(write(tmp_path / "g.jsonl", *rows))


def test_a_list_as_arrays(tmp_path):
    write_clip(tmp_path / "clip.mp4", 4)
    encoder = make_encoder(2)
    reader = OrderReader(
        group_size=3,
        response_length=8,
        encoder=encoder,
        videos=VideoSettings(tmp_path, ClipFormat(2, 16)),
        cache=None,
    )
    (item,) = read_lists(write(tmp_path / "g.jsonl", row(ORDER)))
    example = reader(item)
    for name, (shape, dtype) in reader.layout.items():
        assert example[name].shape == shape and example[name].dtype == dtype, name
    np.testing.assert_array_equal(example["ranks"], [1.5, 0.0, 1.5])
    texts = [encoder.decode(ids) for ids in example["response_ids"]]
    assert texts == list(item["answers"])
