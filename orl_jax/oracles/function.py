"""A user's function as an Oracle, named in the config as "module:function"."""

import dataclasses
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run import stop
from orl_jax.run.errors import Failure, UserError


@dataclasses.dataclass
class FunctionOracle:
    """Calls a function for each request.

    Args:
      function: maps a request to a `Ranking`, or to an order: indices of the responses, best
        first, tied ones in an inner list.

    Example: `FunctionOracle(lambda request: sorted(range(request.size),
      key=lambda i: len(request.responses[i])))` prefers short answers.
    """

    function: Callable[[RankRequest], Any]
    _worked: bool = dataclasses.field(default=False, init=False, repr=False)

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request; invalid where the function raises or returns no order.

        Raises:
          Failure: it has done nothing else so far, in a call with several requests.
        """
        return self._unless_broken([self._ask(request) for request in requests])

    def _unless_broken(self, rankings: list[Ranking]) -> list[Ranking]:
        if not self._worked and len(rankings) > 1:
            name = getattr(self.function, "__name__", "it")
            raise Failure(
                f"the Oracle's function {name} gave no order for any of {len(rankings)} requests, "
                f"first: {rankings[0].reason}; correct it, then the same command asks again"
            )
        return rankings

    def _ask(self, request: RankRequest) -> Ranking:
        try:
            said = self.function(request)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # of one request; the others continue
            if isinstance(error, SystemExit) and stop.requested():  # not the function's own
                raise
            return Ranking.invalid(f"{type(error).__name__}: {error}{_place(error)}", request.size)
        meant = isinstance(said, Ranking)
        ranking = said if meant else Ranking.from_order(said, request.size)
        self._worked = self._worked or meant or ranking.valid
        return ranking


def _place(error: BaseException) -> str:
    """Where the user's code was then, for example " (my_oracles.py, line 7)"."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the caller above
    return f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""


def load_function(name: str) -> Callable[[RankRequest], Any]:
    """The function that "package.module:function" names.

    Raises:
      UserError: the module cannot be imported, or has no such function.

    Example: `load_function("my_oracles:shortest")` with my_oracles.py in the current folder.
    """
    module, _, attribute = name.partition(":")
    if (here := os.getcwd()) not in sys.path:  # a script's path begins with its own folder
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"oracle.name is {name!r}, which cannot be loaded ({error}); name a function as "
            "package.module:function, importable from the current folder"
        ) from error
    if not callable(function):
        raise UserError(
            f"oracle.name is {name!r}, which is {function!r:.40}, not a function; name one that "
            "takes a request and returns an order"
        )
    return function
