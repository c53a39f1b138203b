"""Settings of all tests: jax on the CPU, shapes and types checked, switches for costly tests."""

import os
import signal

import programs

os.environ.setdefault("JAX_PLATFORMS", "cpu")
programs.use()  # before the first import of jax

import pytest
from jaxtyping import install_import_hook

# Checks every annotated call in these packages; they must not have been imported before this.
install_import_hook(["orl_jax.ops", "orl_jax.models"], "beartype.beartype")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tiny_run", "memory"]
SWITCHES = {"slow": "--slow", "real": "--real"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests marked slow, too")
    parser.addoption("--real", action="store_true", help="run tests marked real, which download")
    parser.addoption("--costs", action="store_true", help="show what each test file costs")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        programs.drop_old()
    if config.getoption("--costs"):
        import costs

        costs.configure(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips marked tests by name, with the reason and what would run them; heavy files come first.

    Files are given to workers in this order: what takes longest must not be left for the end.
    """
    items.sort(key=lambda item: "heavy" not in item.keywords)
    for item in items:
        for name, switch in SWITCHES.items():
            if name in item.keywords and not config.getoption(switch):
                item.add_marker(pytest.mark.skip(reason=f"{name}: run with {switch}"))
        if "gpu" in item.keywords and not _has_gpu():
            reason = "jax sees no GPU: run with JAX_PLATFORMS=cuda where there is one"
            item.add_marker(pytest.mark.skip(reason=reason))


def _has_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"
