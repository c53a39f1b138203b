"""Who may open the page: on loopback this machine, elsewhere whoever has the address's token."""

import hmac
import http.cookies
import ipaddress
import re
import secrets
import socket
import urllib.parse


class Access:
    """A token in the page's address, which its later requests repeat as a cookie.

    Args:
      host: what the server listens at; on loopback there is no token.

    Attributes:
      query: what the page's address ends with: "" or "/?token=…".

    Example: `Access("127.0.0.1").query` is "".
    """

    def __init__(self, host: str) -> None:
        self._host = host.lower()
        self._token = "" if is_loopback(host) else secrets.token_urlsafe(16)
        self.query = f"/?token={self._token}" if self._token else ""

    def is_here(self, host: str) -> bool:
        """Whether a Host header names this machine, not a name that someone else controls."""
        name = re.sub(r":[0-9]*$", "", host).strip("[]").lower()
        if name in ("localhost", self._host, socket.gethostname().lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def opens(self, path: str) -> bool:
        """Whether this is the path of the address with its token."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        return bool(self._token) and path.startswith("/?") and self._is(query.get("token", [""])[0])

    def has_cookie(self, header: str, port: int) -> bool:
        """Whether a request's Cookie header has the token; always true without one."""
        if not self._token:
            return True
        try:
            found = http.cookies.SimpleCookie(header).get(f"token_{port}")
        except http.cookies.CookieError:
            return False
        return found is not None and self._is(found.value)

    def cookie(self, port: int) -> str:
        """The Set-Cookie header: cookies of one host are shared by its ports, so it names one."""
        return f"token_{port}={self._token}; HttpOnly; SameSite=Strict; Path=/"

    def _is(self, said: str) -> bool:
        return hmac.compare_digest(said.encode(errors="replace"), self._token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`.

    Example: `is_loopback("0.0.0.0")` is False.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
