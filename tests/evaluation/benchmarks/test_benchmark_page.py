"""benchmarks.html, .md and .json: what stands there, and what cannot get in."""

import html.parser
import json
import pathlib
import re

import pytest
from clips import write_clip
from evaluated import benchmarks, choice, open_ended, write_evaluation

from orl_jax.data.video import ClipFormat
from orl_jax.evaluation.benchmarks.examples import chapters
from orl_jax.evaluation.benchmarks.report import write_report
from orl_jax.report.frames import Frames

HOSTILE = '<script>alert(1)</script> | **bold** "quoted" ![x](http://x)'
TYPES = ["Temporal Perception", "Action Reasoning", "OCR Problems", "Spatial Reasoning", HOSTILE]


class Reader(html.parser.HTMLParser):
    """Tags, and the text of the cells of each row of tables."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.rows = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip() + " "

    def row(self, name):
        """The first row of this name that is longer than a summary's."""
        return next([c.split() for c in r] for r in self.rows if r and r[0].split() == name.split())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """RL gains 40 of 120 in temporal perception; other types have 10 items, the same in both."""
    folder = tmp_path_factory.mktemp("report")
    write_clip(folder / "v0.mp4")
    kinds = [TYPES[0]] * 120 + [kind for kind in TYPES[1:] for _ in range(10)]
    items = [
        choice(k, "A", "A" if k % 2 else "B", task_type=kind, domain="Law")
        for k, kind in enumerate(kinds)
    ]
    items[0]["question"] = items[0]["options"][1] = HOSTILE
    gained = [{**item, "response": "A"} if k < 80 else item for k, item in enumerate(items)]
    items[1]["response"] = HOSTILE
    sft = write_evaluation(folder / "sft", items)
    rl = write_evaluation(folder / "rl", gained)
    said = [open_ended(k, HOSTILE, task_type="") for k in range(3)]
    said[0] |= {"options": ["red", "blue", "green", "black", "white"], "reference": "blue"}
    write_evaluation(folder / "own", said, "own", split="validation")
    found = benchmarks(("SFT", sft), ("RL <b>", rl), ("SFT", folder / "own"))
    frames = Frames(folder, ClipFormat(2, 16))
    return write_report(folder / "out", found, frames, baseline="SFT", examples=200), found


@pytest.fixture(scope="module")
def page(written):
    return written[0][0].read_text()


def test_hostile_text_is_escaped(page):
    reader = Reader(page)
    assert not [tag for tag, _ in reader.tags if tag in ("script", "b>", "iframe", "link")]
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "RL &lt;b&gt;" in page
    meta = [a["content"] for tag, a in reader.tags if tag == "meta" and "http-equiv" in a]
    assert meta == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    sources = [a.get("src", "data:") for _, a in reader.tags]
    assert all(source.startswith("data:image/") or source == "data:" for source in sources)
    assert not re.search(r"\son\w+=", re.sub(r"&[^;]+;", "", page.split("</style>")[1].lower()))


def test_published_figures_stand_next_to_ours(page):
    row = Reader(page).row("Temporal Perception")
    # 60 of 120 right, 100 of 120 with the 40 that were gained (one of SFT's is unanswered).
    assert row[1] == ["120"] and row[2][0] == "49.6" and row[3][0] == "83.3"
    assert row[4][:2] == ["▲", "+33.6"]
    assert row[5:] == [["71.0"], ["49.8"], ["+21.2"]]


def test_small_cells_are_marked_and_level_ones_are_not_set_apart(page):
    row = Reader(page).row("OCR Problems *")
    assert row[1] == ["10"] and row[4][0] == "0.0"
    assert row[5:] == [["–"], ["–"], ["–"]]
    assert not {"▲", "▼"} & set(row[4])


def test_figures_follow_the_theme_and_a_radar_needs_five_types(page):
    labels = re.findall(r'<svg class="fig" role="img" aria-label="([^"]*)"', page)
    assert [label.rsplit(" ", 1)[1] for label in labels] == ["type", "radar", "type"]
    assert "prefers-color-scheme: dark" in page and "var(--rl)" in page
    assert not re.findall(r"#0[1-9]0[1-9]f[1-9]", page)


def test_frames_are_shown_or_said_to_be_missing(page):
    assert "data:image/png;base64," in page
    assert "The clip <code>v2.mp4</code> could not be read" in page


def test_options_have_letters_and_the_right_one_is_marked(page):
    assert '<li class="key">A. red <span class="muted">(reference)</span></li>' in page
    own = page[page.index('<h2 id="own-validation">') :]
    assert "<li>E. white</li>" in own and "Reference:</span> blue" in own


def test_examples_of_each_kind(written):
    (found, _) = written[1]
    nothing = Frames(pathlib.Path("nowhere"), ClipFormat(1, 8))
    first = next(c for c in chapters(found, nothing, examples=3, seed=0) if c.name == TYPES[0])
    counts = {kind.title: kind.count for kind in first.kinds}
    assert counts == {
        "SFT right, RL <b> wrong": 0, "RL <b> right, SFT wrong": 41, "Wrong in all": 20,
    }  # fmt: skip
    won = first.kinds[1].examples
    assert len(won) == 3 and not won[0].frames
    assert [(model, ok) for model, _, ok in won[0].answers] == [("SFT", False), ("RL <b>", True)]
    other = next(c for c in chapters(found, nothing, examples=3, seed=1) if c.name == TYPES[0])
    ids = [[e.item_id for e in chapter.kinds[1].examples] for chapter in (first, other)]
    assert ids[0] != ids[1]


def test_markdown_keeps_its_columns_whatever_a_name_holds(written):
    text = written[0][1].read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1
    assert "<script" not in text.replace(r"\<", "") and "**▲ +33.6**" in text
    assert re.search(r"71\.0 \| +49\.8 \| +\+21\.2", text)
    assert re.search(r"\| +10\\\* \|", text)


def test_json_has_every_number(written):
    found = json.loads(written[0][2].read_text())
    first, second = found["benchmarks"]
    assert found["baseline"] == "SFT" and first["headline"] == "official"
    assert first["all"]["models"]["RL <b>"]["official_of_all"]["mean"] == pytest.approx(0.75)
    assert [row["n"] for row in first["domain"]] == [160]
    assert second["split"] == "validation" and second["all"]["published"] is None
