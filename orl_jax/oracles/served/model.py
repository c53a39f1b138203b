"""How a served model is asked, whatever it is asked about."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A model behind an OpenAI-compatible address, and the bounds of asking it.

    The config sections `oracle.served` and `judge` have these keys and a few of their own.

    Attributes:
      address: with its path, for example "http://127.0.0.1:8000/v1".
      model: as the server names it.
      key_variable: the environment variable that holds the key; "" or an unset one sends none.
      concurrency: questions at a time.
      reply_tokens: of one reply at most; 0 leaves it to the server.
      timeout: seconds of one call.
      attempts: of a call that fails, the first included.
      deadline: seconds for all that is asked at once.
      max_calls, max_tokens: of the whole run; 0 is no limit.
      cache: a folder of replies that need not be asked for again; "" is none.
      cache_mb: its size, in 10^6 bytes.
    """

    SECTION: ClassVar[str] = "served"  # of the config; messages name it

    address: str = ""
    model: str = ""
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    reply_tokens: int = 0
    timeout: float = 60.0
    attempts: int = 5
    deadline: float = 300.0
    max_calls: int = 0
    max_tokens: int = 0
    cache: str = ""
    cache_mb: float = 500.0

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Self:
        """The settings of a config section.

        Raises:
          UserError: an unknown key.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(section) - known):
            raise UserError(
                f"{cls.SECTION}.{unknown[0]} is not a key; choose from {', '.join(sorted(known))}"
            )
        return cls(**section)
