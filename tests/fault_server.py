"""A local server of chat completions whose replies a test scripts, faults included."""

import contextlib
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def served(reply, tls=None):
    """The address of a server; `reply` gets the request's body and a `Wire`, and answers on it.

    With an `ssl.SSLContext` it speaks TLS.
    """
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a reply waits 40 ms for an acknowledgement

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append((body, dict(self.headers)))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                reply(body, Wire(self))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a caller that has left is no error
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield f"http{'s' * bool(tls)}://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        server.server_close()


class Wire:
    """What a reply may do to its caller."""

    def __init__(self, handler):
        self._handler = handler

    def send(self, status, data=b"", **headers):
        """A whole response."""
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.send_header("Content-Length", str(len(data)))
        self._handler.end_headers()
        self._handler.wfile.write(data)

    def say(self, text, tokens=7):
        """A completion."""
        message = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": tokens}}
        self.send(200, json.dumps(message).encode())

    def raw(self, data):
        """Bytes as they are."""
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def half(self):
        """A body that ends before its announced length."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Length", "1000")
        self._handler.end_headers()
        self._handler.wfile.write(b'{"choices": [')
        self._handler.wfile.flush()
        self._handler.connection.close()

    def close(self):
        """No response at all."""
        self._handler.connection.close()

    def trickle(self, seconds):
        """A byte now and then."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Length", "1000000")
        self._handler.end_headers()
        for _ in range(int(seconds / 0.05)):
            self._handler.wfile.write(b" ")
            self._handler.wfile.flush()
            time.sleep(0.05)


def asked(body):
    """The labels and answers that a request shows, in its order."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    answers = json.loads(text)["answers"]
    return [a["label"] for a in answers], [a["answer"] for a in answers]


def by_length(body, wire):
    """An honest judge that prefers short answers."""
    labels, answers = asked(body)
    order = sorted(range(len(labels)), key=lambda place: len(answers[place]))
    tiers = []
    for place in order:
        if tiers and len(answers[tiers[-1][0]]) == len(answers[place]):
            tiers[-1].append(place)
        else:
            tiers.append([place])
    wire.say(json.dumps({"ranking": [[labels[place] for place in tier] for tier in tiers]}))


def first_place(body, wire):
    """A judge that always prefers what it sees first."""
    wire.say(json.dumps({"ranking": asked(body)[0]}))


def bad_reply(labels, rng=random):
    """A reply that is no order of the labels; one of many kinds."""
    some = list(labels)
    rng.shuffle(some)
    order = json.dumps({"ranking": some})
    kinds = [
        lambda: "", lambda: "I would say the first one is best.", lambda: order[:-3],
        lambda: json.dumps({"ranking": some[:-1]}),
        lambda: json.dumps({"ranking": [*some, some[0]]}),
        lambda: json.dumps({"ranking": [*some[:-1], "Z9Z9"]}), lambda: json.dumps({"order": some}),
        lambda: json.dumps(list(range(len(some)))), lambda: "null", lambda: "[[[[" * 500,
        lambda: json.dumps({"ranking": {label: i for i, label in enumerate(some)}}),
        lambda: " > ".join(some[:-1]), lambda: "\N{SNOWMAN}" * rng.randrange(1, 50),
        lambda: "".join(chr(rng.randrange(32, 0x2FFF)) for _ in range(rng.randrange(1, 200))),
        lambda: json.dumps({"ranking": [[some]]}),
        lambda: json.dumps({"ranking": [None, *some[1:]]}),
        lambda: "x" * 1_000_000, lambda: json.dumps({"ranking": [1e999, True, -1]}),
    ]  # fmt: skip
    return rng.choice(kinds)()
