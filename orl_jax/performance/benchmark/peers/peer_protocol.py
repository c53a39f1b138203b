"""The peer's end of the exchange of JSON lines with our process (`peer_process`).

Each request on standard input gets one reply on standard output; training replies once per step:

    {"sizes": …, "prompts": …}  -> {"versions": {"jax": "0.10.2"}}, to the first line, the job
    {"log_probs": "batch.npz"}  -> {"log_probs": "found.npy"}
    {"train": 6}                -> after each {"go": true} the seconds of one step
"""

import collections
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np


class PeerConnection:
    """Answers our requests and times the parts of each step.

    Attributes:
      job: the parent's description of the model and of a step.
      spent: seconds of the current step, by part.
    """

    def __init__(self) -> None:
        self.job: dict[str, Any] = json.loads(sys.stdin.readline())
        self.spent: collections.Counter[str] = collections.Counter()
        self._replies = os.fdopen(os.dup(1), "w", buffering=1)
        self._begin = 0.0
        os.dup2(2, 1)  # output of libraries is not a reply

    def serve(
        self,
        log_probs: Callable[[np.ndarray, np.ndarray], np.ndarray],
        train: Callable[[int], None],
        libraries: Sequence[str],
    ) -> None:
        """Answers requests until standard input ends.

        Args:
          log_probs: (prompts [N, L], answers [N, T]) -> log-probabilities [N, T], temperature 1.
          train: runs this many steps, each between `begin` and `end`.
          libraries: whose versions to report.
        """
        self._reply({"versions": {name: version(name) for name in libraries}})
        for line in iter(sys.stdin.readline, ""):
            request = json.loads(line)
            if "train" in request:
                train(request["train"])
                continue
            batch, target = np.load(request["log_probs"]), request["log_probs"] + ".found.npy"
            np.save(target, log_probs(batch["prompts"], batch["answers"]))
            self._reply({"log_probs": target})

    def begin(self) -> None:
        """Waits for the request of a step; ends the program if there are no more.

        Raises:
          SystemExit: standard input has ended.
        """
        if not sys.stdin.readline():
            raise SystemExit
        self.spent.clear()
        self._begin = time.perf_counter()

    def end(self) -> None:
        """Replies with the seconds of the current step."""
        total = time.perf_counter() - self._begin
        self._reply({"total": total, **self.spent, "rest": total - sum(self.spent.values())})

    def timed(self, part: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Returns the result of a call and adds its seconds to a part.

        Example: `connection.timed("reference", model, ids)`.
        """
        begin = time.perf_counter()
        result = call(*args, **kwargs)
        self.spent[part] += time.perf_counter() - begin
        return result

    def _reply(self, value: Any) -> None:
        self._replies.write(json.dumps(value) + "\n")
