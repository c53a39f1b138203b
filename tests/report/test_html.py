import html.parser
import json
import re
import shutil

import pytest
from example_run import TASKS, write_lines

from orl_jax.report.html import write_report
from orl_jax.report.statistics import newcombe
from orl_jax.report.table import accuracy_rows
from orl_jax.report.wording import THIN, percent, points


class _Reader(html.parser.HTMLParser):
    """Collects the visible text, the rows of tables, and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.rows, self.parts = [], [], []
        self._hidden = 0
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.parts).replace(THIN, " "))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._hidden -= tag == "style"

    def handle_data(self, data):
        if not self._hidden:
            self.parts.append(data)
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] += data + " "


def _page(example) -> str:
    return write_report(example.workdir, data_folder=example.data_folder).read_text()


@pytest.fixture(scope="module")
def page(example) -> str:
    return _page(example)


@pytest.fixture(scope="module")
def reader(page) -> _Reader:
    return _Reader(page)


def _results(example):
    return json.loads((example.workdir / "results.json").read_text())


def test_the_report_lies_in_the_workdir(example) -> None:
    path = write_report(str(example.workdir), data_folder=str(example.data_folder))
    assert path == example.workdir / "report.html"


def test_the_headline_has_the_numbers_of_the_results(example, reader) -> None:
    results = _results(example)
    before, after, control = (results[m]["accuracy"] for m in ("sft", "rl", "control"))
    for text in (percent(before), percent(after), percent(control)):
        assert text.replace(THIN, " ") in reader.text
    assert f"{points(after - before)} points" in reader.text
    assert f"{points(control - before)} points" in reader.text
    for text in (
        "held-out items 72",
        "1 min 38 s",
        "grpo_rank, signed, mix 0.25, discount log2",
        "G 5",
    ):
        assert text in reader.text


def test_the_share_of_wrong_sft_answers_is_said_plainly(reader) -> None:
    assert "The SFT answers are partly wrong, on purpose" in reader.text
    assert "55 % of the answers that SFT is taught give the same wrong value" in reader.text
    assert "8 % of all answers give some other value" in reader.text


@pytest.mark.parametrize("split", ["test", "composition"])
def test_tables_have_the_numbers_of_the_results(example, reader, split) -> None:
    shown = [[cell.split() for cell in row] for row in reader.rows]
    for row in accuracy_rows(_results(example), split):
        greedy = [percent(row.greedy[m], False) for m in ("sft", "control", "rl")]
        sampled = [percent(row.sampled[m], False) for m in ("sft", "control", "rl")]
        wanted = [*greedy, points(row.change()), *sampled, points(row.change("sampled"))]
        assert [row.name.split(), *wanted] in [
            [r[0], *(cell[0] for cell in r[2:])] for r in shown if len(r) == 10
        ]


def test_changes_have_the_interval_of_answers_to_the_same_items(example, reader) -> None:
    answers = [
        [json.loads(line) for line in (example.workdir / f"predictions/{m}_test.jsonl").open()]
        for m in ("sft", "rl")
    ]
    both = [(sft["correct"], rl["correct"]) for sft, rl in zip(*answers, strict=True)]
    cells = [both.count(pair) for pair in ((1, 1), (0, 1), (1, 0), (0, 0))]
    low, high = newcombe(*cells)
    assert f"{points(low)} to {points(high)}" in reader.text
    assert "Newcombe's for two answers to the same items" in reader.text
    assert "A change has no interval" not in reader.text


def test_changes_have_no_interval_without_the_answers_of_both(new_example) -> None:
    example = new_example()
    path = example.workdir / "predictions/sft_test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    reader = _Reader(_page(example))
    assert "A change has no interval where predictions/ lacks the answers" in reader.text
    total = next(row for row in reader.rows if len(row) == 10 and row[0].strip() == "all")
    assert len(total[5].split()) == 1  # the change, without "-3.2 to +4.5"


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        ("grpo_rank", "The loss saw only the order, never a score"),
        ("grpo", "gave each of them a score"),
        ("ppo", "gave each of them a score"),
    ],
)
def test_the_story_is_that_of_the_algorithm(new_example, algorithm, said) -> None:
    example = new_example()
    results = _results(example)
    results["config"]["rl"]["algorithm"] = algorithm
    (example.workdir / "results.json").write_text(json.dumps(results))
    assert said in _Reader(_page(example)).text


def test_small_cells_are_marked(reader) -> None:
    counts = [row[1].split() for row in reader.rows if row and row[0].strip() in TASKS]
    assert ["12", "*"] in counts and ["4", "*"] in counts


def test_bars_and_curves_are_drawn(page, reader) -> None:
    assert page.count('class="fig"') == 2 + 8 + 6 + 4 + 2 + 4
    for title in ("Rank agreement", "KL to the reference", "Entropy", "Groups without a signal"):
        assert title in reader.text


def test_the_gallery_shows_frames_questions_and_responses(reader) -> None:
    images = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert len(images) > 100
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    for question, sentence, values in TASKS.values():
        assert question in reader.text and sentence.format(values[0]) in reader.text


def test_settings_and_times_are_listed(reader) -> None:
    for text in ("learning_rate", "0.0003", '"log2"', "2 min 23 s", "vision warm-up", "Python"):
        assert text in reader.text


def test_it_opens_offline_and_runs_nothing(page, reader) -> None:
    without_names = re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    assert not re.search(
        r"https?://|@import|url\((?!#)|<script|<link|<iframe|javascript:", without_names
    )
    addresses = [
        value
        for _, attrs in reader.tags
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data")
    ]
    assert addresses and all(a.startswith(("data:image/", "#")) for a in addresses)
    assert ("default-src 'none'" in page) and not any(
        n.startswith("on") for _, a in reader.tags for n in a
    )


def test_links_within_the_page_lead_somewhere(reader) -> None:
    ids = {attrs["id"] for _, attrs in reader.tags if "id" in attrs}
    links = {attrs["href"][1:] for tag, attrs in reader.tags if tag == "a"}
    assert links and links <= ids


def test_ids_are_unique_and_tags_closed(page, reader) -> None:
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag in ("div", "details", "table", "figure", "p", "svg", "span"):
        assert len(re.findall(rf"<{tag}[\s>]", page)) == page.count(f"</{tag}>"), tag


EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def test_everything_that_a_run_says_is_escaped(new_example) -> None:
    example = new_example()
    for name in ("rollouts/1", "rollouts/4", "predictions/sft_test", "predictions/rl_test"):
        path = example.workdir / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            texts = {k: EVIL for k in ("question", "reference", "response", "video") if k in row}
            row |= texts | ({"responses": [EVIL] * 5} if "responses" in row else {})
        write_lines(path, rows)
    results = _results(example)
    results["config"]["data"]["source"] = EVIL
    results["rl"]["splits"]["test"]["categories"][EVIL] = {"n": 3, "accuracy": 0.5}
    (example.workdir / "results.json").write_text(json.dumps(results))
    page = _page(example)
    assert "<script" not in page and "<img src=x" not in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)") > 10


def test_an_empty_workdir_gives_a_page_that_says_what_is_missing(tmp_path) -> None:
    page = write_report(tmp_path, data_folder=tmp_path / "none").read_text()
    text = _Reader(page).text
    for sentence in (
        "holds no evaluation of SFT or RL",
        "does not say which share",
        "holds no accuracies by task type",
        "There is no metrics.jsonl",
        "There are no rollouts/",
        "neither rollouts/ nor predictions/",
        "did not record its times",
        "holds a config",
    ):
        assert sentence in text


def test_without_a_control(new_example) -> None:
    example = new_example()
    results = _results(example)
    del results["control"], results["seconds"]["control"]
    (example.workdir / "results.json").write_text(json.dumps(results))
    shutil.rmtree(example.workdir / "control")
    reader = _Reader(_page(example))
    assert "No control was evaluated" in reader.text
    heads = [
        [c.strip() for c in row] for row in reader.rows if row and row[0].strip() == "task type"
    ]
    assert heads[0] == ["task type", "n", "SFT", "RL", "change", "SFT", "RL", "change"]


def test_without_rollouts_predictions_composition_and_sampled_accuracy(new_example) -> None:
    example = new_example()
    results = _results(example)
    for model in ("sft", "rl", "control"):
        del results[model]["splits"]["composition"]
        test = results[model]["splits"]["test"]
        for cell in (test, *test["categories"].values()):
            del cell["sampled_accuracy"]
    (example.workdir / "results.json").write_text(json.dumps(results))
    shutil.rmtree(example.workdir / "rollouts")
    shutil.rmtree(example.workdir / "predictions")
    text = _Reader(_page(example)).text
    assert "The held-out composition split was not evaluated" in text
    assert "There are no rollouts/" in text and "sampled 4" not in text


def test_only_sft_was_evaluated(new_example) -> None:
    example = new_example()
    results = _results(example)
    (example.workdir / "results.json").write_text(json.dumps({"sft": results["sft"]}))
    assert "Only one of SFT and RL was evaluated" in _Reader(_page(example)).text


def test_missing_clips_and_cut_off_lines_are_said(new_example) -> None:
    example = new_example()
    shutil.rmtree(example.data_folder)
    with (example.workdir / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "rl", "st')
    text = _Reader(_page(example)).text
    assert "videos/test/00000.mp4 could not be read" in text
    assert "1 line of the run's files could not be read and was skipped" in text


def test_a_fall_and_a_better_control_are_said(new_example) -> None:
    example = new_example()
    results = _results(example)
    results["rl"], results["sft"] = results["sft"], results["rl"]
    (example.workdir / "results.json").write_text(json.dumps(results))
    text = _Reader(_page(example)).text
    assert "Held-out accuracy fell from" in text
    assert "Fallen by more than 3 points" in text
    assert "In this run it did at least as well as RL" in text
