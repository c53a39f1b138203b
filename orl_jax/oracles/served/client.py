"""How a served model is reached: one chat completion, retried within bounds, within a deadline.

The key comes from an environment variable and goes into one header; it never appears in a config,
log, cache or error. Every failure is an `AskError` whose message begins with a few fixed words, so
that failures can be counted.
"""

import dataclasses
import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import tenacity

from orl_jax.oracles.served.model import ServedModel
from orl_jax.run.errors import UserError

_log = logging.getLogger(__name__)
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_BODY_LIMIT = 4_000_000  # bytes


class AskError(Exception):
    """A call without a reply."""


class _Passing(AskError):
    """One that may succeed next time; `wait` is what the server asks for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class _Late(AskError):
    """The deadline has passed."""


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
      UserError: an invalid address.
    """

    def __init__(self, settings: ServedModel) -> None:
        if not settings.address.startswith(("http://", "https://")):
            raise UserError(
                f"{settings.SECTION}.address is {settings.address!r}; give an OpenAI-compatible "
                "address with its path, for example http://127.0.0.1:8000/v1"
            )
        variable = settings.key_variable
        key = os.environ.get(variable, "") if variable else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.spent = Spent()
        self._settings = settings
        self._url = settings.address.rstrip("/") + "/chat/completions"
        self._structured = True  # until the server refuses
        self._lock = threading.Lock()
        self._http = httpx.Client(headers=headers, timeout=settings.timeout)

    def complete(
        self, messages: Sequence[dict[str, Any]], response_format: dict[str, Any], deadline: float
    ) -> str:
        """The text of the reply.

        Args:
          messages: in the form of OpenAI's chat completions.
          response_format: is left out once the server has refused one.
          deadline: of `time.monotonic()`.

        Raises:
          AskError: after the last attempt, past the deadline, over the budget, or refused.
        """
        failures: list[Any] = []

        def pause(state: tenacity.RetryCallState) -> None:
            self._count(retries=1)
            failures.append(state.outcome.exception())
            time.sleep(_within(state.next_action.sleep, deadline))

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
        except _Late as late:
            raise AskError(f"{late}: {failures[-1]}" if failures else str(late)) from late
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _pause(self, state: tenacity.RetryCallState) -> float:
        asked = getattr(state.outcome.exception(), "wait", 0.0)
        return max(asked, tenacity.wait_random_exponential(multiplier=0.5, max=20)(state))

    def _call(
        self, messages: Sequence[dict[str, Any]], response_format: dict[str, Any], deadline: float
    ) -> str:
        self._check_budget()
        body = {"model": self._settings.model, "messages": list(messages), "temperature": 0}
        if self._settings.reply_tokens:
            body["max_tokens"] = self._settings.reply_tokens
        formatted = {**body, "response_format": response_format}
        status, headers, data = self._post(formatted if self._structured else body, deadline)
        if status in (400, 422) and self._structured:  # perhaps it has no structured output
            status, headers, data = self._post(body, deadline)
            if status == 200:
                self._structured = False
                _log.warning("the server takes no response_format; replies are parsed without")
        if status in _RETRIED:
            raise _Passing(f"status {status}", _retry_after(headers))
        if status != 200:
            raise AskError(f"status {status}: {data[:200].decode(errors='replace')}")
        return self._read(data)

    def _post(self, body: dict[str, Any], deadline: float) -> tuple[int, httpx.Headers, bytes]:
        """Reads in pieces: a server that sends a byte now and then must not take for ever."""
        self._count(calls=1)
        end = min(deadline, time.monotonic() + self._settings.timeout)
        try:
            with self._http.stream(
                "POST", self._url, json=body, timeout=_within(self._settings.timeout, deadline)
            ) as response:
                data = b""
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > _BODY_LIMIT:
                        raise AskError(f"too long a body: over {_BODY_LIMIT} bytes")
                    if time.monotonic() > end:
                        raise _Passing("timed out: in the body")
                return response.status_code, response.headers, data
        except httpx.TimeoutException as error:
            raise _Passing(f"timed out: {type(error).__name__}") from error
        except httpx.HTTPError as error:
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
        return text

    def _count_tokens(self, usage: dict[str, Any]) -> None:
        names = {"tokens": "total_tokens"}
        names |= {name: name for name in ("prompt_tokens", "completion_tokens")}
        told = {name: usage.get(key) for name, key in names.items()}
        self._count(**{name: count for name, count in told.items() if isinstance(count, int)})

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


def _within(seconds: float, deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _Late("deadline passed")
    return min(seconds, left)


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds; 0 for dates and nonsense."""
    try:
        return max(float(headers.get("retry-after", 0)), 0.0)
    except ValueError:
        return 0.0
