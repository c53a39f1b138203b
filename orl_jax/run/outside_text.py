"""Text that came from outside, as it may be kept: without secrets, in one line, never too long.

Whatever a server, a judge or somebody's own code says ends up in reasons, journals, tables, pages
and on the terminal. It may repeat the API key that it was sent, hold half of a surrogate pair,
which no UTF-8 file takes, or steer the terminal with control characters.
"""

import os
import re
import threading
from urllib.parse import quote

HIDDEN = "[hidden key]"
SHORTEST = 6  # characters of a secret; shorter ones are placeholders such as "EMPTY"
_NAMES = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u00([2-7][0-9a-fA-F])")  # of printable ASCII in JSON
_lock = threading.Lock()
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """From now on `redacted` removes this secret, wherever it came from.

    Example: `hide("sk-0123456789")`.
    """
    if len(secret) >= SHORTEST:
        with _lock:
            _secrets.add(secret)


def redacted(text: str) -> str:
    """The text without secrets: those told to `hide`, and those of the environment.

    The environment's are the values of variables whose names end in KEY, TOKEN, SECRET or PASSWORD.
    A secret is found in any case, percent-encoded or with JSON's escapes.

    Example: `redacted("bad key sk-0123456789")` is "bad key [hidden key]" after `hide`.
    """
    forms = {form for secret in _known() for form in (secret, quote(secret, safe=""))}
    if not forms:
        return text
    longest_first = sorted(map(re.escape, forms), key=len, reverse=True)
    pattern = re.compile("|".join(longest_first), re.IGNORECASE)
    if "\\u00" in text:
        plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
        text = plain if pattern.search(plain) else text
    return pattern.sub(HIDDEN, text)


def storable(text: str) -> str:
    r"""The redacted text with a question mark for every lone surrogate, so that UTF-8 takes it.

    Example: `storable("a\ud800b") == "a?b"`.
    """
    return redacted(text.encode("utf-8", "replace").decode())


def lines(text: str, limit: int) -> str:
    r"""`storable`, its lines kept, each of at most `limit` printable characters.

    Example: `lines("a\x1b[2J\n  b", 80) == "a [2J\n  b"`.
    """
    return "\n".join(_printable(line)[:limit] for line in storable(text).splitlines())


def one_line(text: str, limit: int) -> str:
    r"""`storable`, as one line of at most `limit` printable characters.

    The secrets are removed before the cut, which could leave a part of one.

    Example: `one_line("status 401:\n bad key", 300) == "status 401: bad key"`.
    """
    return " ".join(_printable(storable(text)).split())[:limit]


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _known() -> set[str]:
    found = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= 8}
    with _lock:
        return found | _secrets
