"""What the address of a server in a configuration may look like."""

import re
from typing import Any
from urllib.parse import urlsplit

from orl_jax.run.errors import UserError

ADDRESSES = ("oracle.served", "preferences.oracle.served", "judge")  # sections that have one
_ADDRESS = re.compile(r"https?://[!-~]+")


def check_no_secret(address: Any, section: str) -> None:
    """Refuses an address with a login or a query, without repeating it.

    Either may hold a secret, and a configuration is written to files, checkpoints and journals.

    Raises:
      UserError: the address has one.

    Example: `check_no_secret("http://me:secret@host/v1", "judge")` raises.
    """
    rest = str(address).rpartition("//")[2]
    for sign, what in (("@", "a user name or password"), ("?", "a query"), ("#", "a fragment")):
        if sign in rest:
            raise UserError(
                f"{section}.address holds {what} ({sign!r}), which would be written to files; "
                f"leave it out and put the key into the environment variable that "
                f"{section}.key_variable names"
            )


def check_address(address: Any, section: str) -> None:
    """Refuses what is not an OpenAI-compatible address.

    Raises:
      UserError: it is not an HTTP address in ASCII, or see `check_no_secret`.

    Example: `check_address("http://127.0.0.1:8000/v1", "oracle.served")`.
    """
    check_no_secret(address, section)
    if not _is_address(address):
        raise UserError(
            f"{section}.address is {str(address)[:80]!r}; give an OpenAI-compatible "
            "address with its path, for example http://127.0.0.1:8000/v1"
        )


def _is_address(address: Any) -> bool:
    try:
        parts = urlsplit(address)
        return bool(_ADDRESS.fullmatch(address) and parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        return False
