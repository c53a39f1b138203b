"""The script from end to end, and the page that it leaves."""

import json
import re
import subprocess
import sys

import pytest
from audit_cases import ROOT, audited, write_groups

from orl_jax.oracles.baselines import longest


def run(*arguments):
    command = [sys.executable, str(ROOT / "scripts/audit_oracle.py"),
               f"--config={ROOT}/configs/demo.py", *arguments]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_from_end_to_end_and_again(tmp_path):
    groups = write_groups(tmp_path / "groups.jsonl", 20)
    arguments = (
        f"--workdir={tmp_path}/run", f"--config.audit.groups={groups}",
        "--config.audit.truth=recorded", "--config.audit.pairs=5",
        "--config.oracle.name=orl_jax.oracles.baselines:shortest",
    )  # fmt: skip
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("verdict: FAIL — tau -1.00 [-1.00, -0.68] is below audit.min_tau")
    assert "| tau-b with the truth" in done.stdout and "Traceback" not in done.stderr
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert made == {"audit.json", "audit.md", "audit.html", "answers.jsonl", "config.json"}
    assert lines[-1] in (tmp_path / "run/audit.md").read_text()
    assert json.loads((tmp_path / "run/audit.json").read_text())["verdict"] == lines[-1]
    answers = (tmp_path / "run/answers.jsonl").read_bytes()
    again = run(*arguments, "--config.audit.min_tau=-1")
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].startswith("verdict: FAIL — pairs ordered right 0.00")
    assert (tmp_path / "run/answers.jsonl").read_bytes() == answers


def test_bad_input_is_one_line_and_status_2(tmp_path):
    done = run(f"--workdir={tmp_path}/run")
    assert done.returncode == 2 and done.stderr.startswith("error: audit.groups is empty")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def page(tmp_path, monkeypatch):
    rude = '<script>alert("1")</script> $x^2$'
    groups = write_groups(tmp_path / "groups.jsonl", 12, types=(rude, "b"))
    groups.write_text(groups.read_text().replace('"w3 w3"', json.dumps(f"w3 {rude}")))

    def judge(request):
        return None if request.prompt_id == "p1" else longest(request)

    audited(judge, groups, tmp_path / "run", monkeypatch)
    return (tmp_path / "run/audit.html").read_text()


def test_the_page_stands_alone(page):
    assert "default-src 'none'" in page and "<script" not in page
    assert not re.search(r"(src|href)=.https?:", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count('<svg class="fig"') == 7  # all pictures, the reasons among them
    assert "&lt;script&gt;" in page and "#0606f6" not in page


def test_the_page_shows_disagreements_and_limits(page):
    assert "The worst disagreements" in page and page.count('<details class="card chapter"') == 11
    assert "w0 w0 w0 w0 w0" in page and "the order is not a list but None" in page
    assert "≥ 0.5" in page and "Passes" not in page  # three of 36 asks are invalid: 8 %
