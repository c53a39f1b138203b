"""A peer in its own process, which exchanges lines of JSON with ours; see `peers.peer_protocol`.

A peer may need other library versions, and its idle threads must not slow our side down.
"""

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from orl_jax.performance.benchmark.peer_model import ROPE_BASE, Sizes
from orl_jax.run.errors import Failure, UserError

Seconds = dict[str, float]  # seconds of a step, by part and "total"
_PROGRAMS = pathlib.Path(__file__).with_name("peers")
_INSTALL = {
    "trl": "pip install -e '.[torch,peers]'",
    "tunix": "python -m venv tunix && tunix/bin/pip install google-tunix==0.1.7",
}
PEERS = tuple(_INSTALL)


def check_name(name: str, python: str) -> None:
    """Refuses an unknown peer, and Tunix without its Python.

    Raises:
      UserError: names the known peers, or what is missing.

    Example: `check_name("trl", "")`.
    """
    if name not in PEERS:
        raise UserError(f"--peer={name}; choose one of {', '.join(PEERS)}")
    if name == "tunix" and not python:
        raise UserError(
            "--peer=tunix runs in its own environment: give that environment's Python as "
            "--peer_python (docs/performance.md)"
        )


class PeerProcess:
    """A peer's side of a comparison; as a context manager it ends the process.

    Args:
      name: one of `PEERS`.
      folder: of the model.
      prompts: B texts; every step uses all of them.
      python: the Python of an environment with the peer; "" is this one.

    Attributes:
      versions: of the peer's libraries.

    Raises:
      UserError: the program cannot be started there.
    """

    def __init__(
        self, name: str, folder: pathlib.Path, sizes: Sizes, prompts: Sequence[str], python: str
    ) -> None:
        self._name, self._place = name, folder.parent
        self._said = self._place / f"{name}.log"
        job = {
            "folder": str(folder), "sizes": sizes.__dict__, "heads": sizes.heads,
            "rope_base": ROPE_BASE, "prompts": list(prompts),
        }  # fmt: skip
        command = [python or sys.executable, str(_PROGRAMS / f"{name}_process.py")]
        try:
            with self._said.open("w") as said:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                    text=True, bufsize=1,
                )  # fmt: skip
        except OSError as error:
            raise UserError(f"--peer_python={python}: {error.strerror}") from error
        try:
            self.versions: dict[str, str] = self._ask(job)["versions"]
        except Failure as failure:
            where = f"--peer_python={python}" if python else f"--peer={name}"
            raise UserError(
                f"{where} cannot run {name}; to install: {_INSTALL[name]}. {failure}"
            ) from failure

    def log_probs(self, prompts: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Log-probabilities [N, T] of answers [N, T] to prompts [N, L], at temperature 1."""
        path = self._place / "batch.npz"
        np.savez(path, prompts=prompts, answers=answers)
        return np.load(self._ask({"log_probs": str(path)})["log_probs"])

    def train(self, steps: int, between: Callable[[], Any]) -> list[Seconds]:
        """Seconds of each of `steps` steps, in total and by part; the first is the warm-up.

        Args:
          between: called after each step but the last; its time does not count.
        """
        self._say({"train": steps})
        found = [self._ask({"go": True})]
        while len(found) < steps:
            between()
            found.append(self._ask({"go": True}))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> Any:
        self._say(request)
        return self._reply()

    def _say(self, request: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError as error:
            raise self._ended() from error

    def _reply(self) -> Any:
        """The next reply of the process.

        Raises:
          Failure: it has ended.
        """
        if line := self._process.stdout.readline():
            return json.loads(line)
        raise self._ended()

    def _ended(self) -> Failure:
        """An error that quotes the last line of its log."""
        self._process.wait()
        last = ["", *self._said.read_text().strip().splitlines()][-1]
        code = self._process.returncode
        return Failure(f"the process of {self._name} ended with {code}: {last[:300]}")
