"""The rooms of `orl_jax/`, from the ground up: each imports only rooms above it in this table."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "orl_jax"
ROOMS = (
    "ops", "run", "data", "report", "models", "oracles", "weights", "evaluation", "training", "rl",
    "experiments", "performance",
)  # fmt: skip
WITHOUT_JAX = ("data", "oracles")


def imports(file: pathlib.Path) -> set[str]:
    """Dotted names that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def rooms_of(room: str) -> dict[str, set[str]]:
    """Of each file of a room the other rooms that it imports."""
    return {
        str(file.relative_to(PACKAGE)): {
            name.split(".")[1] for name in imports(file) if name.startswith("orl_jax.")
        }
        - {room}
        for file in (PACKAGE / room).rglob("*.py")
    }


def test_every_folder_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ROOMS)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down(room):
    below = set(ROOMS[: ROOMS.index(room)])
    upwards = {file: names - below for file, names in rooms_of(room).items() if names - below}
    assert not upwards, f"{room}/ imports rooms that are not below it: {upwards}"


@pytest.mark.parametrize("room", WITHOUT_JAX)
def test_imports_no_jax(room):
    heavy = {"jax", "flax", "optax", "orbax"}
    found = {
        str(file): names
        for file in (PACKAGE / room).rglob("*.py")
        if (names := {name.split(".")[0] for name in imports(file)} & heavy)
    }
    assert not found


def test_training_starts_without_slow_libraries():
    """Each takes a third of a second or more to import; only functions that need them do."""
    slow = {"scipy", "qwix", "torch", "matplotlib"}
    rooms = ("run", "report/statistics.py", "models", "training", "rl")
    files = [f for room in rooms for f in [PACKAGE / room, *(PACKAGE / room).rglob("*.py")]]
    found = {
        str(file): names
        for file in files
        if file.is_file() and (names := {n.split(".")[0] for n in _at_its_top(file)} & slow)
    }
    assert not found


def _at_its_top(file: pathlib.Path) -> set[str]:
    top = [
        n for n in ast.parse(file.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    return {alias.name for n in top if isinstance(n, ast.Import) for alias in n.names} | {
        n.module for n in top if isinstance(n, ast.ImportFrom) and n.module
    }
