"""Runs a script of `scripts/` in this process: what a shell does, without starting a Python."""

import logging
import pathlib
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from absl import flags

FOLDER = pathlib.Path(__file__).parents[1] / "scripts"
KEPT = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")


def run(name: str, *arguments: object) -> None:
    """`python scripts/NAME.py ARGUMENTS`, which must end with status 0.

    Signals and several processes need a process of their own: `subprocess`.

    Raises:
      AssertionError: another status.

    Example: `run("train_sft", "--config=configs/demo.py:tiny", f"--workdir={folder}")`.
    """
    status = status_of(name, *arguments)
    assert status == 0, f"scripts/{name}.py ended with status {status}"


def status_of(name: str, *arguments: object) -> int:
    """The exit status; what the script prints is for `capsys`."""
    file = FOLDER / f"{name}.py"
    with _put_back():
        sys.argv = [str(file), *map(str, arguments)]
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
    raise AssertionError(f"{file} has not exited: it has no cli.run")


@contextmanager
def _put_back() -> Iterator[None]:
    """Puts back what a script sets for its whole process."""
    root, names, argv = logging.getLogger(), set(flags.FLAGS), sys.argv
    handlers, level = list(root.handlers), root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    kept = {key: getattr(jax.config, key) for key in KEPT}
    try:
        yield
    finally:
        sys.argv = argv
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
        for key, value in kept.items():
            jax.config.update(key, value)
        for name in set(flags.FLAGS) - names:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
