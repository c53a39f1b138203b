"""A user's function as an Oracle, named in the config as "module:function"."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class FunctionOracle:
    """Calls a function for each request.

    Args:
      function: maps a request to a `Ranking`, or to an order: indices of the responses, best
        first, tied ones in an inner list.

    Example: `FunctionOracle(lambda request: sorted(range(request.size),
      key=lambda i: len(request.responses[i])))` prefers short answers.
    """

    function: Callable[[RankRequest], Any]

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request; invalid where the function raises or returns no order."""
        return [self._ask(request) for request in requests]

    def _ask(self, request: RankRequest) -> Ranking:
        try:
            said = self.function(request)
        except UserError:
            raise
        except Exception as error:  # of one request; the others continue
            return Ranking.invalid(f"{type(error).__name__}: {error}", request.size)
        return said if isinstance(said, Ranking) else Ranking.from_order(said, request.size)


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
