"""How bytes travel to a server and back: every wait within one deadline, every body within a bound.

A library's time-outs are of one read each, so a server that sends a byte now and then passes them
for ever. Here each wait, for a name, a connection, TLS, headers or a body, is cut into slices,
and between two slices the deadline of the whole call counts (`deadline.current`).
"""

import logging
import os
import select
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi
import httpcore

from orl_jax.oracles.served.deadline import SLICE, Deadline, DeadlinePassed, current, holding
from orl_jax.run.errors import UserError

BODY_LIMIT = 4_000_000  # bytes, as they are sent and once more as they are decoded
_ZIPPED = ("gzip", "x-gzip", "deflate")
# Its debug messages hold headers, and a server may repeat the key in one.
logging.getLogger("httpcore").setLevel(logging.WARNING)


class BodyError(Exception):
    """A body that is too long, or in an encoding that was not asked for."""


class Response(NamedTuple):
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """Connections to one address; safe for threads.

    Args:
      url: where everything is sent.
      headers: of every request.

    Raises:
      UserError: a proxy in the environment that is of another kind than HTTP.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        self._pool = _pool(url)

    def post(self, body: bytes, deadline: Deadline) -> Response:
        """Sends JSON and reads the response.

        Raises:
          BodyError, httpcore's exceptions, and `Stopped` by a signal.
        """
        headers = {**self._headers, "Content-Type": "application/json"}
        with (
            holding(deadline),
            self._pool.stream(
                "POST", self._url, headers=list(headers.items()), content=body
            ) as response,
        ):
            data = bytearray()
            for piece in response.iter_stream():
                data += piece
                if len(data) > BODY_LIMIT:
                    raise BodyError(f"too long a body: over {BODY_LIMIT} bytes")
                _left(httpcore.ReadTimeout)
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            encoding = found.get("content-encoding", "")
            return Response(response.status, found, _decoded(bytes(data), encoding))

    def close(self) -> None:
        """Closes what is open."""
        self._pool.close()


def _decoded(data: bytes, encoding: str) -> bytes:
    """The body without its encoding; it is never unpacked beyond the limit."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return data
    if name not in _ZIPPED:  # also several, one inside the other
        raise BodyError(f"encoded body: {encoding[:40]!r}, and no encoding was asked for")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # by its header
    try:
        found = unpacking.decompress(data, BODY_LIMIT + 1)
    except zlib.error as error:
        raise httpcore.RemoteProtocolError("a body that cannot be unpacked") from error
    if len(found) > BODY_LIMIT:
        raise BodyError(f"too long a body: over {BODY_LIMIT} bytes when unpacked")
    if not unpacking.eof:
        raise httpcore.RemoteProtocolError("a packed body without its end")
    return found


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait is within the current deadline; httpcore's time-outs are unused."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return _waited(self._sock, lambda: self._sock.recv(max_bytes),
                       httpcore.ReadTimeout, httpcore.ReadError)  # fmt: skip

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            sent = _waited(self._sock, lambda view=view: self._sock.send(view),
                           httpcore.WriteTimeout, httpcore.WriteError)  # fmt: skip
            view = view[sent:]

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        if isinstance(self._sock, ssl.SSLSocket):
            raise httpcore.ConnectError("TLS inside TLS; name an http:// proxy")
        try:
            sock = ssl_context.wrap_socket(
                self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        try:
            _waited(sock, sock.do_handshake, httpcore.ConnectTimeout, httpcore.ConnectError)
        except BaseException:
            sock.close()
            raise
        return _Stream(sock)

    def close(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if info == "socket":
            return self._sock
        if info == "is_readable":  # of an idle connection: the server has closed it
            return _is_readable(self._sock)
        return None


class _Backend(httpcore.NetworkBackend):
    """Opens `_Stream`s."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            seconds = current().left()
            sock = current().wait_for(lambda: socket.create_connection((host, port), seconds))
        except (DeadlinePassed, TimeoutError) as error:
            raise httpcore.ConnectTimeout("while connecting") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(sock)


def _waited(
    sock: socket.socket,
    work: Callable[[], Any],
    late: type[Exception],
    failed: type[Exception],
) -> Any:
    """What `work` on a socket returns, tried again after every slice."""
    while True:
        try:
            sock.settimeout(min(SLICE, _left(late)))
            return work()
        except TimeoutError:
            continue
        except OSError as error:
            raise failed(type(error).__name__) from error


def _left(late: type[Exception]) -> float:
    try:
        return current().left()
    except DeadlinePassed as error:
        raise late("deadline passed") from error


def _is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    looking = select.poll()
    looking.register(sock.fileno(), select.POLLIN)
    return bool(looking.poll(0))


def _pool(url: str) -> httpcore.ConnectionPool:
    """Through the proxy that the environment names, if any: HTTP_PROXY, HTTPS_PROXY, NO_PROXY."""
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    options: dict[str, Any] = {
        "ssl_context": _certificates() if parts.scheme == "https" else None,
        "max_connections": None,
        "max_keepalive_connections": 20,
        "keepalive_expiry": 5.0,
        "network_backend": _Backend(),
    }
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return httpcore.ConnectionPool(**options)
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if place.scheme != "http" or not place.hostname:
        raise UserError(
            f"the environment names a proxy of the kind {place.scheme!r} for {parts.scheme} "
            "addresses; name one that begins with http://, or list the server in NO_PROXY"
        )
    host = f"[{place.hostname}]" if ":" in place.hostname else place.hostname
    login = (place.username, place.password or "") if place.username else None
    address = f"http://{host}:{place.port or 80}"
    return httpcore.HTTPProxy(address, proxy_auth=login, **options)


def _certificates() -> ssl.SSLContext:
    """Whom to trust: SSL_CERT_FILE and SSL_CERT_DIR where they are set, else certifi's list."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        file = certifi.where()
    return ssl.create_default_context(cafile=file or None, capath=folder or None)
