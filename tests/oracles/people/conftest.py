"""The script in its own process, and a real browser."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from page_client import Page
from people_groups import make_request, write_groups

ROOT = Path(__file__).parents[3]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "anna.jsonl"


@pytest.fixture
def script(tmp_path, output):
    """Starts the script; returns the process and a page."""
    groups = write_groups(tmp_path / "groups.jsonl", [make_request(n) for n in range(6)])
    started = []

    def start(*flags):
        command = [
            sys.executable, "scripts/rank_by_hand.py", f"--groups={groups}", f"--output={output}",
            "--ranker=anna", f"--videos={tmp_path}", *flags,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        line = process.stdout.readline()
        return process, Page(int(line.rsplit(":", 1)[1])) if line else None

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium drives the browser")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("chromium with chromedriver is not installed")
    from person import start_browser

    driver = start_browser(*programs, tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def anyone(browser):
    """A person at the browser who has not opened a page yet."""
    from person import Person

    return Person(browser)
