"""The page's HTTP: its files, the groups as JSON, the clips, and the posted orders.

    GET  /                    the page; its style and scripts. With a host other than loopback,
                              /?token=… and from then on a cookie
    GET  /groups/next         the next open group, or {"place": null} when all are done
    GET  /groups/PLACE        a group; see `Session.view`
    GET  /videos/PLACE        its clip, or the part that a Range header requests
    POST /groups/PLACE        {"order": [[2], [0, 1]], "seconds": 9.5} or {"skip": true, ...};
                              replies with the next open group

URLs never contain file names: a clip is addressed by the place of its group. Pages of other sites
can neither read nor write here, not even through DNS rebinding: the Host header must be an address
or the name of this host, and a post must come from the page itself.
"""

import json
import logging
import re
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from orl_jax.oracles.people.access import Access
from orl_jax.oracles.people.clips import Clips, content_type
from orl_jax.oracles.people.ranges import parse_range
from orl_jax.oracles.people.session import Session
from orl_jax.run.errors import UserError

_log = logging.getLogger(__name__)
LARGEST_POST = 65536  # bytes
SCRIPT = "text/javascript; charset=utf-8"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}": (name, SCRIPT) for name in ("page.js", "card.js", "drag.js", "order.js")},
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "media-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Refusal(Exception):
    """A refused request: replied to with a status and a reason."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves a session's page; `serve_forever` runs it until Ctrl-C.

    Args:
      host, port: what to listen at; port 0 takes a free one.
      session: the groups and the file.
      folder: what the videos' paths are relative to.

    Raises:
      UserError: the address or port cannot be used.

    Example: `Server("127.0.0.1", 0, session, "data/shapes").address` is "http://127.0.0.1:41234".
    """

    daemon_threads = True
    request_queue_size = 128  # waiting connections; beyond the default of 5 they are reset

    def __init__(self, host: str, port: int, session: Session, folder: str):
        self.session, self.host = session, host
        self.clips = Clips(folder, [request.video for request in session.requests])
        self.access = Access(host)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--host={host} --port={port}: {error}; choose another port, or 0 for a free one"
            ) from error

    @property
    def address(self) -> str:
        """The page's, with its token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}{self.access.query}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds, of a silent connection

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        """Logs nothing: one line per request would bury what matters."""

    def _answer(self, respond: Any) -> None:
        try:
            if not self.server.access.is_here(self.headers.get("Host", "")):
                reason = "open the page by this machine's address, or give its name as --host"
                raise Refusal(HTTPStatus.FORBIDDEN, reason)
            if not self._may_enter():
                reason = "open the page by the whole address that the script printed"
                raise Refusal(HTTPStatus.FORBIDDEN, reason)
            respond()
        except Refusal as refusal:
            self._refuse(refusal.status, str(refusal))
        except (ConnectionError, TimeoutError):  # the browser went away
            self.close_connection = True
        except OSError as error:  # a file that cannot be read
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _may_enter(self) -> bool:
        access, port = self.server.access, self.server.server_port
        cookie = self.headers.get("Cookie", "")
        return access.has_cookie(cookie, port) or (self.command == "GET" and self._has_token())

    def _has_token(self) -> bool:
        return self.server.access.opens(self.path)

    def _get(self) -> None:
        target, place = self._target()
        if self.path in FILES or self._has_token():
            name, kind = FILES["/" if self._has_token() else self.path]
            content = resources.files("orl_jax.oracles.people").joinpath(name).read_bytes()
            self._send(HTTPStatus.OK, content, kind)
        elif self.path == "/groups/next":
            self._send_group(self.server.session.next_open())
        elif target == "groups":
            self._send_group(place)
        elif target == "videos":
            self._send_video(self.server.clips.find(place))
        else:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self) -> None:
        origin = self.headers.get("Origin")
        if origin not in (None, f"http://{self.headers['Host']}"):
            raise Refusal(HTTPStatus.FORBIDDEN, "the request comes from another site")
        kind, place = self._target()
        if kind != "groups":
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        said, session = self._body(), self.server.session
        try:
            if said.get("skip") is True:
                reason = session.skip(place, said.get("seconds"))
            else:
                reason = session.save(place, said.get("order"), said.get("seconds"))
        except (OSError, RuntimeError) as error:  # a full disk; the server is shutting down
            _log.warning("not saved: %s", error)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"not saved: {error}") from error
        if reason:
            raise Refusal(HTTPStatus.BAD_REQUEST, reason)
        self._send_group(session.next_open(place))

    def _target(self) -> tuple[str, int]:
        """("groups" or "videos", place) from the URL; ("", 0) for any other."""
        match = re.fullmatch(r"/(groups|videos)/([0-9]{1,9})", self.path)
        if match is None:
            return "", 0
        place, count = int(match[2]), len(self.server.session.requests)
        if place >= count:
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is no group {place}; there are {count}")
        return match[1], place

    def _body(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is not application/json")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "the Content-Length header is missing")
        if int(length) > LARGEST_POST:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST_POST} bytes")
        try:
            said = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"not JSON: {error}") from error
        if not isinstance(said, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "not a JSON object")
        return said

    def _send_group(self, place: int | None) -> None:
        session = self.server.session
        view = session.progress() | {"place": None} if place is None else session.view(place)
        if place is not None:
            view["missing_video"] = self._missing(place)
        self._send(HTTPStatus.OK, json.dumps(view).encode(), "application/json")

    def _missing(self, place: int) -> str | None:
        video, clips = self.server.session.requests[place].video, self.server.clips
        return None if not video or clips.find(place) else str(clips.named(place) or video)

    def _send_video(self, path: Path | None) -> None:
        if path is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no video")
        with path.open("rb") as file:
            size = file.seek(0, 2)
            try:
                part = parse_range(self.headers.get("Range"), size)
            except ValueError as error:
                raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, str(error)) from error
            status, start, stop = HTTPStatus.OK, 0, size
            more = {"Accept-Ranges": "bytes"}
            if part is not None:
                status, (start, stop) = HTTPStatus.PARTIAL_CONTENT, part
                more["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self._head(status, content_type(path), stop - start, more)
            if stop > start:
                self.connection.sendfile(file, start, stop - start)

    def _send(self, status: HTTPStatus, content: bytes, content_type: str) -> None:
        self._head(status, content_type, len(content), {})
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # the body may not have been read
        content = json.dumps({"error": reason}).encode()
        self._head(status, "application/json", len(content), {"Connection": "close"})
        self.wfile.write(content)

    def _head(
        self, status: HTTPStatus, content_type: str, length: int, more: dict[str, str]
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": content_type, "Content-Length": str(length), **HEADERS, **more}
        if self._has_token():
            headers["Set-Cookie"] = self.server.access.cookie(self.server.server_port)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
