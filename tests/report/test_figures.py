import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from orl_jax.report.bars import Bar, Histogram, bars, histograms
from orl_jax.report.canvas import COLOURS
from orl_jax.report.figures import Curve, lines, signed_line


def _line(values, name="a figure", label="greedy"):
    return lines([Curve(label, range(len(values)), values)], x_label="step", y_label="y", name=name)


FIGURES = {
    "lines": lambda: _line([0.1, 0.5, 0.25]),
    "smoothed": lambda: _line(np.linspace(0, 1, 50).tolist()),
    "bars": lambda: bars([("counting", [Bar(0.5, 0.4, 0.6, "sft")])], name="bars"),
    "histograms": lambda: histograms([Histogram("early", [-1, 0, 1.0])], x_label="x", name="h"),
    "signed": lambda: signed_line(Curve("r", [1, 2], [0.5, 0.6]), x_label="x", y_label="y",
                                  above="up", below="down", name="s"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_is_clean_and_follows_the_theme(kind) -> None:
    svg = FIGURES[kind]()
    ElementTree.fromstring(svg)
    assert "var(--" in svg
    assert not any(colour in svg for colour in COLOURS.values())
    # No colour of matplotlib's own is left, but the black of marker shapes that `use` overrides.
    assert set(re.findall(r"#[0-9a-f]{6}", svg)) <= {"#000000"}
    for unwanted in ("<style", "<metadata", "font-family", "<?xml", "DOCTYPE"):
        assert unwanted not in svg


@pytest.mark.parametrize("kind", FIGURES)
def test_a_figure_is_the_same_every_time(kind) -> None:
    assert FIGURES[kind]() == FIGURES[kind]()


def test_names_and_labels_are_escaped() -> None:
    svg = _line([0.1, 0.2], name='"><script>x</script>')
    svg += bars([("<script>$y$</script>", [Bar(0.5, 0.4, 0.6, "rl")])], name="b")
    assert "<script" not in svg and ">&lt;script&gt;$y$" in svg  # as it is, not as a formula


def test_ids_of_two_figures_do_not_meet() -> None:
    ids = [set(re.findall(r'id="([^"]+)"', _line([0.1, 0.2], name=name))) for name in "ab"]
    assert ids[0] and not ids[0] & ids[1]


def test_the_last_value_stands_at_the_end() -> None:
    assert ">0.25<" in _line([0.1, 0.5, 0.25])
    assert ">0.5<" in _line([0.1, 0.5, math.nan])


def test_bars_show_their_values() -> None:
    svg = bars([("x", [Bar(0.123, 0.1, 0.2, "sft"), Bar(0.987, 0.9, 1.0, "rl")])], name="b")
    assert ">12.3<" in svg and ">98.7<" in svg
    assert "var(--sft)" in svg and "var(--rl)" in svg


def test_histograms_of_nothing_but_zeros_are_empty_not_an_error() -> None:
    ElementTree.fromstring(histograms([Histogram("early", [0.0, 0.0])], x_label="x", name="h"))
