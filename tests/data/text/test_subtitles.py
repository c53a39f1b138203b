"""Hand-written .srt files, good and bad, and subtitles at the frames of a real clip."""

import numpy as np
import pytest
from clips import write_clip

from orl_jax.data.text.prompt import IMAGE_TOKEN, asked, format_prompt
from orl_jax.data.text.subtitles import Cue, at_times, read_cues, shorten
from orl_jax.data.video import VideoError, frame_times
from orl_jax.run.errors import UserError

USUAL = """1
00:00:01,000 --> 00:00:02,500
Hi guys.

2
00:00:02,500 --> 00:00:04,000
I show you how
to prepare a <i>fish</i>.
"""
CUES = [Cue(1.0, 2.5, "Hi guys."), Cue(2.5, 4.0, "I show you how to prepare a fish.")]


def cues_of(tmp_path, content):
    path = tmp_path / "a.srt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_cues(path)


@pytest.mark.parametrize(
    "content",
    [
        USUAL,
        "\ufeff" + USUAL.replace("\n", "\r\n"),
        USUAL.replace("\n", "\r").rstrip(),
        USUAL.replace("1\n00", "00").replace("2\n00", "00"),
        USUAL.replace("\n\n", "\n"),
        USUAL.replace(",000", ".000").replace(",500", ".5"),
        USUAL.replace("Hi", "{\\an8}<font color='#fff'>Hi").replace("00 -->", "00  -->  "),
        USUAL.replace("4,000", "4,000 X1:10 X2:20").replace("how\n", "how\n\n"),
        USUAL.replace("00:00:0", "00:0"),
        "\n\n"
        + USUAL
        + "\n3\n00:00:05,000 --> 00:00:06,000\n<b></b>\n\n4\n00:00:07,0 --> 00:00:06,0\nx",
    ],
)
def test_equivalent_files(tmp_path, content):
    assert cues_of(tmp_path, content) == CUES


def test_unusual_times_and_texts(tmp_path):
    content = (
        "7\n100:00:01,040 --> 101:01:01,007\n42\n\n8\n00:00:03,0 --> 00:00:04,0\nlate\n\n"
        "00:00:01,0 --> 00:00:09,0\na < b <image> {c} <00:00:02.500><c>d</c>\u2028e"
    )
    assert cues_of(tmp_path, content) == [
        Cue(1.0, 9.0, "a < b <image> {c} d e"),
        Cue(3.0, 4.0, "late"),
        Cue(360001.04, 363661.007, "42"),
    ]


def test_latin_1_if_not_utf_8(tmp_path):
    content = USUAL.replace("Hi guys.", "Grüß dich, Zoë")
    for encoding in ("utf-8", "latin-1"):
        assert cues_of(tmp_path, content.encode(encoding))[0].text == "Grüß dich, Zoë"


def test_files_without_cues(tmp_path):
    assert cues_of(tmp_path, "") == cues_of(tmp_path, "\ufeff\r\n") == []
    for content in ("no times\n", USUAL.encode("utf-16")):
        with pytest.raises(UserError, match=r'a.srt has no line like "00:00:01,000 --> .*UTF-8'):
            cues_of(tmp_path, content)
    with pytest.raises(UserError, match=r"nowhere.srt cannot be read \(No such file.*\); put"):
        read_cues(tmp_path / "nowhere.srt")
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_cues(tmp_path)


def test_what_is_shown():
    cues = [Cue(5, 6, "c"), Cue(0, 9, "a"), Cue(2, 3, "b"), Cue(2, 3, "b, too")]
    assert at_times(cues, [1, 2, 2.9, 3, 5.5, 6]) == ["a", "b, too", "c"]
    assert at_times(cues, [9, 20]) == at_times([], [1]) == []
    same = [Cue(0, 1, "yes"), Cue(1, 2, "yes")]
    assert at_times(same, [0, 0.5, 1]) == ["yes", "yes"]


def test_lines_at_the_frames_of_a_clip(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 25)  # eight frames per second
    times = frame_times(clip, 4)
    assert times.dtype == np.float64
    np.testing.assert_allclose(times, [0, 1, 2, 3], atol=1e-6)
    assert at_times(CUES, times) == [cue.text for cue in CUES]
    assert at_times(CUES, frame_times(clip, 2)) == [CUES[1].text]
    np.testing.assert_allclose(
        frame_times(str(write_clip(tmp_path / "b.mp4", 2)), 3), [0, 0, 1 / 8]
    )


def test_times_of_bad_videos(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("text")
    for name, reason in [("gone", "is missing"), ("empty", "is empty"), ("text", "be decoded")]:
        with pytest.raises(VideoError, match=f"{name}.mp4: .*{reason}"):
            frame_times(tmp_path / f"{name}.mp4", 2)


def test_lines_that_do_not_fit_are_dropped_evenly():
    lines = ["0", "1", "2", "3", "4"]
    for count, left in enumerate(["", "0", "0 4", "0 2 4", "0 1 2 4", "0 1 2 3 4"]):
        kept = shorten(lines, lambda text, count=count: len(text.split()) <= count and bool(text))
        assert kept == left.replace(" ", "\n")
    assert shorten([], lambda text: True) == ""


def test_the_most_lines_that_fit_are_found_though_fewer_do_not():
    assert shorten(["a", "long", "b"], lambda text: "long" not in text) == "a\nb"
    assert shorten(["long", "a"], lambda text: "long" not in text) == ""


def test_subtitles_come_before_the_question_in_video_mmes_words():
    item = {"question": "Which?", "options": ["A. Red.", "B. Blue."], "subtitles": "Hi.\nBye.\n"}
    assert asked(item) == (
        "This video's subtitles are listed below:\nHi.\nBye.\n"
        "Select the best answer to the following multiple-choice question based on the video. "
        "Respond with only the letter (A or B) of the correct option.\n"
        "Which?\nA. Red.\nB. Blue.\nThe best answer is:"
    )
    assert asked({"question": "Which?", "subtitles": "Hi."}) == (
        "This video's subtitles are listed below:\nHi.\nWhich?"
    )
    for nothing in ("", " \n", None):
        assert asked({"question": "Which?", "subtitles": nothing}) == "Which?"


def test_one_image_whatever_is_said(tmp_path):
    said = cues_of(tmp_path, USUAL.replace("Hi", "<image> <im<image>age> <im<i>age>"))
    item = {"question": "Which <image>?", "subtitles": "\n".join(at_times(said, [1, 3]))}
    assert IMAGE_TOKEN in asked(item)
    assert format_prompt(asked(item)).count(IMAGE_TOKEN) == 1
