"""How a served model is reached: one chat completion, retried within bounds, within a deadline.

The key comes from an environment variable and goes into one header; it never appears in a config,
log, cache or error, even if the server repeats it. Every failure is an `AskError` whose message
begins with a few fixed words, so that failures can be counted.
"""

import dataclasses
import json
import logging
import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import httpcore
import tenacity

from orl_jax.oracles.served.connection import BodyError, Connection, Response
from orl_jax.oracles.served.deadline import Deadline, DeadlinePassed, Stopped
from orl_jax.oracles.served.model import ServedModel
from orl_jax.run.address import check_address
from orl_jax.run.errors import UserError
from orl_jax.run.outside_text import hide, one_line, storable

_log = logging.getLogger(__name__)
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_WAIT = 3600.0  # seconds that a server may ask for
_MOST_TOKENS = 10_000_000  # of one call; a server that says more is not believed


class AskError(Exception):
    """A call without a reply."""


class _Passing(AskError):
    """One that may succeed next time; `wait` is what the server asks for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclasses.dataclass
class Spent:
    """What has been used since the start."""

    calls: int = 0
    retries: int = 0
    tokens: int = 0
    prompt_tokens: int = 0  # these two where the server tells them apart
    completion_tokens: int = 0


class Client:
    """Chat completions of one model at one address; safe for threads.

    Raises:
      UserError: an invalid address, or a key that no header can hold.
    """

    def __init__(self, settings: ServedModel) -> None:
        check_address(settings.address, settings.SECTION)
        key = _key(settings)
        hide(key)
        self.spent = Spent()
        self._settings = settings
        self._structured = True  # until the server refuses
        self._doubted = False
        self._lock = threading.Lock()
        self._connection = Connection(
            settings.address.rstrip("/") + "/chat/completions",
            {"Authorization": f"Bearer {key}"} if key else {},
        )

    def complete(
        self,
        messages: Sequence[dict[str, Any]],
        response_format: dict[str, Any],
        deadline: Deadline,
    ) -> str:
        """The text of the reply, without the key and lone surrogates.

        Args:
          messages: in the form of OpenAI's chat completions.
          response_format: is left out once the server has refused one.
          deadline: of all attempts together.

        Raises:
          AskError: after the last attempt, past the deadline, over the budget, refused, or stopped
            by a signal.
        """
        failures: list[Any] = []

        def pause(state: tenacity.RetryCallState) -> None:
            self._count(retries=1)
            failures.append(state.outcome.exception())
            deadline.sleep(state.next_action.sleep)

        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(_Passing),
                stop=tenacity.stop_after_attempt(self._settings.attempts),
                wait=self._pause,
                sleep=lambda _: None,  # `pause` does, within the deadline
                before_sleep=pause,
                reraise=True,
            ):
                with attempt:
                    return self._call(messages, response_format, deadline)
        except DeadlinePassed as late:
            raise AskError(f"{late}: {failures[-1]}" if failures else str(late)) from late
        except Stopped as stopped:
            raise AskError(str(stopped)) from stopped
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _pause(self, state: tenacity.RetryCallState) -> float:
        asked = getattr(state.outcome.exception(), "wait", 0.0)
        return max(asked, tenacity.wait_random_exponential(multiplier=0.5, max=20)(state))

    def _call(
        self,
        messages: Sequence[dict[str, Any]],
        response_format: dict[str, Any],
        deadline: Deadline,
    ) -> str:
        self._check_budget()
        body = {"model": self._settings.model, "messages": list(messages), "temperature": 0}
        if self._settings.reply_tokens:
            body["max_tokens"] = self._settings.reply_tokens
        formatted = {**body, "response_format": response_format}
        reply = self._post(formatted if self._structured else body, deadline)
        if reply.status in (400, 422) and self._structured:  # perhaps it has no structured output
            reply = self._post(body, deadline)
            if reply.status == 200:
                self._structured = False
                _log.warning("the server takes no response_format; replies are parsed without")
        if reply.status in _RETRIED:
            raise _Passing(f"status {reply.status}", _retry_after(reply.headers))
        if reply.status != 200:
            said = one_line(reply.body[:20_000].decode(errors="replace"), 200)
            raise AskError(f"status {reply.status}: {said}")
        return self._read(reply.body)

    def _post(self, body: dict[str, Any], deadline: Deadline) -> Response:
        deadline.begin()
        self._count(calls=1)
        call = Deadline(self._settings.timeout, deadline)
        try:
            return self._connection.post(json.dumps(body).encode(), call)
        except BodyError as error:
            raise AskError(str(error)) from error
        except httpcore.TimeoutException as error:
            raise _Passing(f"timed out: {type(error).__name__}") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise _Passing(f"connection failed: {type(error).__name__}") from error

    def _read(self, data: bytes) -> str:
        try:
            reply = json.loads(data)
            text = reply["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise _Passing("no completion in the body") from error
        usage = reply.get("usage")
        self._count_tokens(usage if isinstance(usage, dict) else {})
        if not isinstance(text, str):
            raise AskError("empty reply: no text")
        return storable(text)

    def _count_tokens(self, usage: dict[str, Any]) -> None:
        names = {"tokens": "total_tokens"}
        names |= {name: name for name in ("prompt_tokens", "completion_tokens")}
        told = {name: usage[key] for name, key in names.items() if usage.get(key) is not None}
        counts = {name: count for name, count in told.items() if _is_count(count)}
        if len(counts) < len(told) and not self._doubted:
            self._doubted = True
            _log.warning("the server says that a call used an absurd number of tokens; not counted")
        self._count(**counts)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                setattr(self.spent, name, getattr(self.spent, name) + number)

    def _check_budget(self) -> None:
        settings, spent = self._settings, self.spent
        for name, used, limit in (
            ("calls", spent.calls, settings.max_calls),
            ("tokens", spent.tokens, settings.max_tokens),
        ):
            if limit and used >= limit:
                raise AskError(f"budget spent: {limit} {name} ({settings.SECTION}.max_{name})")


def _key(settings: ServedModel) -> str:
    """The key in the environment, or ""."""
    variable = settings.key_variable
    key = os.environ.get(variable, "").strip() if variable else ""
    if not re.fullmatch(r"[!-~]*", key):
        raise UserError(
            f"the environment variable {variable} ({settings.SECTION}.key_variable) holds "
            "characters that no key has; set it to the key alone"
        )
    return key


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds; 0 for dates and nonsense."""
    try:
        seconds = float(headers.get("retry-after", 0))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else 0.0
