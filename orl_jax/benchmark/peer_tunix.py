"""A whole step of Tunix's `GRPOLearner`, made by a process of its own; see `tunix_process`."""

import json
import pathlib
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from orl_jax.benchmark.peer_model import ROPE_BASE, Seconds, Sizes
from orl_jax.errors import Failure, UserError

_PROGRAM = pathlib.Path(__file__).with_name("tunix_process.py")
_INSTALL = "python -m venv tunix && tunix/bin/pip install google-tunix==0.1.7"


class Tunix:
    """The peer as `peer.compare` wants one; a context that ends the process.

    Args:
      folder: of the model.
      prompts: B texts; every step sees all of them.
      python: of an environment with Tunix.

    Raises:
      UserError: the program can't be started there.
    """

    def __init__(
        self, folder: pathlib.Path, sizes: Sizes, prompts: Sequence[str], python: str
    ) -> None:
        job = {
            "folder": str(folder), "sizes": sizes.__dict__, "heads": sizes.heads,
            "rope_base": ROPE_BASE, "prompts": list(prompts),
        }  # fmt: skip
        self._place = folder.parent
        self._said = self._place / "tunix.log"
        try:
            with self._said.open("w") as said:
                self._process = subprocess.Popen(
                    [python, str(_PROGRAM), json.dumps(job)], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=said, text=True, bufsize=1,
                )  # fmt: skip
        except OSError as error:
            raise UserError(f"--peer_python={python}: {error.strerror}") from error
        try:
            self._reply()
        except Failure as failure:
            raise UserError(
                f"--peer_python={python} can't run Tunix; name the Python of an environment that "
                f"has it ({_INSTALL}). {failure}"
            ) from failure

    def log_probs(self, prompts: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """[N, T] of answers [N, T] to prompts [N, L], at temperature 1."""
        path = self._place / "batch.npz"
        np.savez(path, prompts=prompts, answers=answers)
        return np.load(self._ask({"log_probs": str(path)})["log_probs"])

    def train(self, steps: int, between: Callable[[], Any]) -> list[Seconds]:
        """Seconds of each of `steps` steps, whole and by part; the first is the warm-up.

        Args:
          between: called after each step but the last; not counted.
        """
        self._ask({"train": steps})
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
        self._process.stdin.write(json.dumps(request) + "\n")
        return self._reply()

    def _reply(self) -> Any:
        """What the process says next.

        Raises:
          Failure: it has ended; quotes the last line that it said.
        """
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        last = ["", *self._said.read_text().strip().splitlines()][-1]
        raise Failure(f"Tunix's process ended with {self._process.returncode}: {last[:300]}")
