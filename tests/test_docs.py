"""The README and docs/ name what exists: links, files, scripts, config keys; their lines wrap."""

import pathlib
import re
import runpy
from collections.abc import Iterator

import pytest

from orl_jax.run import command_line
from orl_jax.run.config import keys

ROOT = pathlib.Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"\b(?:orl_jax|scripts|configs|tests)(?:/\w+)+\.(?:py|css|md)\b")
OVERRIDE = re.compile(r"--config\.([a-z]\w*(?:\.[a-z]\w*)*)")
CONFIGS = (
    "demo.py", "describe.py", "imported.py", "compare.py", "experiments.py", "video_llama2_7b.py",
)  # fmt: skip
PLACEHOLDERS = {"section.key"}
COMMAND = re.compile(r"scripts/(\w+\.py)((?:[^\n]|(?<=\\)\n)*)")  # with continued lines
DEFINED = re.compile(r"DEFINE_\w+\(\s*\"(\w+)\"")


def name(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


def slugs(page: pathlib.Path) -> set[str]:
    """Anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def prose(page: pathlib.Path) -> Iterator[str]:
    """Lines outside code, tables, headings and pictures."""
    code = False
    for line in page.read_text().splitlines():
        code ^= line.startswith("```")
        if not code and not line.startswith(("```", "|", "#", "![", "    ")):
            yield line


@pytest.fixture(scope="module")
def config_keys() -> set[str]:
    """Names of all sections and keys of the configs, dotted."""
    found = set()
    for file in CONFIGS:
        get_config = runpy.run_path(str(ROOT / "configs" / file))["get_config"]
        arguments = {"compare.py": ("forms",), "experiments.py": ("video_mme",)}
        found |= set(keys(get_config(*arguments.get(file, ()))))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    missing = []
    for target in LINK.findall(page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in slugs(file)):
            missing.append(target)
    assert not missing


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_every_file_named_exists(page):
    named = set(FILE.findall(page.read_text()))
    assert not {file for file in named if not (ROOT / file).exists()}


@pytest.mark.parametrize("folder", ["orl_jax", "scripts", "configs", "tests"])
def test_every_page_that_code_names_exists(folder):
    text = "".join(file.read_text() for file in (ROOT / folder).rglob("*.py"))
    pages = set(re.findall(r"\bdocs/[\w/]+\.md\b", text))
    assert not {page for page in pages if not (ROOT / page).exists()}


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_every_override_is_a_key(page, config_keys):
    named = set(OVERRIDE.findall(page.read_text())) - PLACEHOLDERS
    assert not named - config_keys


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_every_flag_of_a_command_is_defined(page):
    blocks = "".join(re.findall(r"```(?:bash)?\n(.*?)```", page.read_text(), re.DOTALL))
    unknown = []
    for script, rest in COMMAND.findall(blocks):
        known = {*command_line.SHARED, *DEFINED.findall((ROOT / "scripts" / script).read_text())}
        named = re.findall(r" --(?!config\.)(\w+)", rest.partition("#")[0])
        unknown += [(script, flag) for flag in named if flag not in known]
    assert not unknown


def test_every_script_is_documented():
    text = "".join(page.read_text() for page in GUIDES)
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert not {script for script in scripts if f"scripts/{script}" not in text}


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_prose_wraps_at_120(page):
    assert not [line for line in prose(page) if len(line) > 120]


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_readmes_python_is_that_of_a_page_that_is_run():
    """By `tests/rl/test_python_page.py`; the README leaves lines out and adds comments."""
    page = (ROOT / "docs/python.md").read_text().splitlines()
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        lines = [line.partition("  #")[0] for line in block.splitlines() if line]
        assert not [line for line in lines if line not in page]
