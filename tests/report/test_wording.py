import pytest

from orl_jax.report import wording

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2190, "+21.9"),
        (-0.031, MINUS + "3.1"),
        (0.0, "0.0"),
        (-0.0001, "0.0"),
        (None, "\N{EN DASH}"),
    ],
)
def test_points(value, text) -> None:
    assert wording.points(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.94, "9.9 s"),
        (31.2, "31 s"),
        (98.4, "1 min 38 s"),
        (120, "2 min 0 s"),
        (3725, "1 h 2 min"),
    ],
)
def test_duration(value, text) -> None:
    assert wording.duration(value).replace(wording.THIN, " ") == text


@pytest.mark.parametrize(
    ("value", "name"), [(0.1, "up"), (-0.1, "down"), (0.0, "level"), (None, "level")]
)
def test_tone(value, name) -> None:
    assert wording.tone(value) == name


def test_small_ones() -> None:
    assert wording.plain(1.5) == "1.5" and wording.plain(10.0) == "10"
    assert wording.signed(-0.25) == MINUS + "0.250" and wording.signed(0) == "0"
    assert wording.setting("a\N{EN DASH}b") == '"a\N{EN DASH}b"'
    assert wording.percent(0.5412, False) == "54.1" and wording.thousands(1080) == "1,080"
