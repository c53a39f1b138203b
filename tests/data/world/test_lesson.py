"""Questions of a video, read together."""

import numpy as np

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.data.world.lesson import group_by_video


def items(*videos):
    return [{"item_id": f"{i}", "video": video} for i, video in enumerate(videos)]


def test_groups_keep_videos_apart_and_respect_the_size():
    lessons = group_by_video(items("a", "b", "a", "a", "b"), size=2)
    found = [[item["item_id"] for item in lesson["items"]] for lesson in lessons]
    assert found == [["0", "2"], ["1", "4"], ["3"]]
    assert [lesson["video"] for lesson in lessons] == ["a", "b", "a"]


def test_opening_and_turn_are_prompt_and_response():
    encoder = PromptEncoder(build_word_tokenizer(["What moves?", "It does."]), 3, 20, 6)
    opening, opening_mask = encoder.encode_opening()
    turn, mask, targets = encoder.encode_turn("What moves?", "It does.")
    prompt, prompt_mask = encoder.encode_prompt("What moves?")
    response, response_mask = encoder.encode_response("It does.")
    joined = np.concatenate([prompt[prompt_mask], response[response_mask]])
    np.testing.assert_array_equal(np.concatenate([opening, turn[mask]]), joined)
    np.testing.assert_array_equal(turn[targets], response[response_mask])
    assert opening_mask.all() and len(turn) == 20 - len(opening) + 6
    assert (turn[~mask] == encoder.pad_id).all() and not targets[~mask].any()
