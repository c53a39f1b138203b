"""The served Oracle against a server that wants to do harm: bytes, time, secrets, numbers."""

import gzip
import json
import logging
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib

import pytest
from fault_server import asked, by_length, served

from orl_jax.oracles import RankRequest, ask
from orl_jax.run.errors import UserError

REQUEST = RankRequest("p0", "Where?", ("It moves up slowly.", "Up", "It moves up."))
BOMB = 200_000_000
KEY = "sk-Secret/0123+456"
SETTINGS = {"model": "judge", "attempts": 1, "timeout": 1.0, "deadline": 20.0}


def zipped(size, times=1):
    """A completion padded to `size` bytes, packed some times; it is never in memory unpacked."""
    packing = zlib.compressobj(1, wbits=31)
    data = packing.compress(b'{"choices": [{"message": {"content": "')
    for _ in range(size // 1000):
        data += packing.compress(b"x" * 1000)
    data += packing.compress(b'"}}]}') + packing.flush()
    for _ in range(times - 1):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize(
    ("data", "encoding", "reason"),
    [
        (zipped(BOMB), "gzip", "too long a body: over 4000000 bytes when unpacked"),
        (zipped(BOMB, 2), "gzip, gzip", "encoded body: 'gzip, gzip'"),
        (zipped(BOMB, 2), "gzip", "no completion"),
        (b"x" * 5_000_000, "identity", "too long a body: over 4000000 bytes"),
        (b"x" * 100, "br", "encoded body"),
        (b"x" * 100, "gzip", "connection failed: RemoteProtocolError"),
        (zipped(5000)[:-9], "gzip", "connection failed: RemoteProtocolError"),
    ],
    ids=["bomb", "bomb in a bomb", "bomb unnamed", "long", "brotli", "no gzip", "half"],
)
def test_packed_bodies_are_bounded(oracle, data, encoding, reason):
    def reply(body, wire):
        wire.send(200, data, Content_Encoding=encoding)

    with served(reply) as (address, _):
        start, before = time.monotonic(), peak_memory(afresh=True)
        (ranking,) = oracle(address).rank([REQUEST])
        assert reason in ranking.reason
        assert time.monotonic() - start < 5 and peak_memory() - before < 100e6


def peak_memory(afresh=False):
    """Bytes of this process at their most, since the last time that it was counted afresh."""
    if afresh:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1000 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_packed_reply_counts(oracle, pack):
    def reply(body, wire):
        content = json.dumps({"ranking": asked(body)[0]})
        message = {"choices": [{"message": {"content": content}}]}
        encoding = "gzip" if pack is gzip.compress else "deflate"
        wire.send(200, pack(json.dumps(message).encode()), Content_Encoding=encoding)

    with served(reply) as (address, bodies):
        assert oracle(address).rank([REQUEST])[0].valid
        assert bodies[0][1]["Accept-Encoding"] == "identity"


def slowly(data, pause=0.05):
    """Sends bytes one at a time, for ever if there are enough of them."""

    def reply(body, wire):
        for byte in data:
            wire.raw(bytes([byte]))
            time.sleep(pause)

    return reply


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 1000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200,
    ],
    ids=["headers", "continue", "chunks"],
)
def test_one_deadline_holds_whatever_arrives_slowly(oracle, data):
    with served(slowly(data)) as (address, _):
        start = time.monotonic()
        (late,) = oracle(address, timeout=0.8).rank([REQUEST])
        (over,) = oracle(address, timeout=30.0, deadline=0.8, attempts=5).rank([REQUEST])
        assert time.monotonic() - start < 5
    assert late.reason.startswith("timed out") and over.reason.startswith("deadline passed")


def test_a_server_that_reads_nothing_is_left(oracle):
    request = RankRequest("p", "Where?", ("a" * 20_000_000, "b"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        (ranking,) = oracle(address, timeout=1.0).rank([request])
    assert time.monotonic() - start < 5 and ranking.reason == "timed out: WriteTimeout"


STOPPED = """
import sys
from orl_jax.oracles import RankRequest
from orl_jax.oracles.served import ServedOracle, Settings
from orl_jax.run.stop import StopSignal, exit_on_sigterm
exit_on_sigterm()
oracle = ServedOracle(Settings(sys.argv[1], "judge", timeout=60.0, deadline=300.0, concurrency=2))
requests = [RankRequest(str(n), "Where?", ("a", "b", str(n))) for n in range(20)]
if sys.argv[2] == "loop":
    with StopSignal() as stop:
        rankings = oracle.rank(requests)
    assert stop.requested and not any(r.valid for r in rankings)
    assert {r.reason for r in rankings} == {
        "stopped: before the reply", "stopped: before it was asked"
    }
    sys.exit(7)
oracle.rank(requests)
"""


@pytest.mark.parametrize(("where", "status"), [("loop", 7), ("script", 128 + signal.SIGTERM)])
def test_sigterm_ends_a_call(where, status):
    begun = threading.Event()

    def reply(body, wire):
        begun.set()
        slowly(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 2000)(body, wire)

    with served(reply) as (address, _):
        process = subprocess.Popen([sys.executable, "-c", STOPPED, address, where])
        assert begun.wait(60)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == status
        assert time.monotonic() - start < 10


def test_who_no_longer_waits_cancels(oracle):
    with served(slowly(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 2000)) as (address, _):
        judge = oracle(address, timeout=60.0)
        threading.Timer(0.5, judge.cancel).start()
        start = time.monotonic()
        assert judge.rank([REQUEST])[0].reason == "stopped: before the reply"
        assert time.monotonic() - start < 3


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "9" * 5000, "", "Thu, 1 Jan"])
def test_an_absurd_retry_after_is_not_waited_for(oracle, value):
    def reply(body, wire):
        by_length(body, wire) if len(bodies) > 1 else wire.send(503, b"", Retry_After=value)

    with served(reply) as (address, bodies):
        (ranking,) = ask(oracle(address, attempts=2, deadline=12.0, timeout=5.0), [REQUEST])
    assert ranking.valid, ranking.reason


@pytest.mark.parametrize(
    "usage",
    [
        "7", "[]", "null", '{"total_tokens": -5}', '{"total_tokens": 1e999}',
        '{"total_tokens": true}', '{"total_tokens": "many"}', '{"total_tokens": NaN}',
        '{"total_tokens": %s}' % ("9" * 4000),
    ],
)  # fmt: skip
def test_absurd_usage_is_not_counted(oracle, usage, caplog):
    def reply(body, wire):
        content = json.dumps(json.dumps({"ranking": asked(body)[0]}))
        wire.send(200, b'{"choices": [{"message": {"content": %s}}], "usage": %s}'
                  % (content.encode(), usage.encode()))  # fmt: skip

    with served(reply) as (address, _):
        judge = oracle(address, max_tokens=100)
        assert all(ranking.valid for ranking in ask(judge, [REQUEST, REQUEST], "raise"))
    assert judge.client.spent.tokens == 0
    assert caplog.text.count("absurd number of tokens") == ("{" in usage)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"choices": ' * 100_000, b'{"choices": %s}' % (b"9" * 5000),
        b'{"choices": [{"message": {"content": "\\ud800"}}]}', b'{"choices": [{"message": []}]}',
        b'{"choices": {"0": 1}}', b'"choices"', b"\xff\xfe\x00", b"NaN",
        b'{"choices": [{"message": {"content": ["text"]}}], "usage": {}}',
    ],
)  # fmt: skip
def test_any_body_gives_a_line(oracle, body, tmp_path):
    with served(lambda _, wire: wire.send(200, body)) as (address, _):
        judge = oracle(address)
        (ranking,) = ask(judge, [REQUEST])
        (bare,) = judge.rank([REQUEST])  # `ask` would make a line of any exception
    assert bare.reason.startswith(("no completion", "empty reply", "no order"))
    assert not ranking.valid and 0 < len(ranking.reason) <= 300
    (tmp_path / "kept").write_text(ranking.reason, encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000, '{"ranking": ' * 10_000, '{"ranking": [%s]}' % ("9" * 5000),
        '{"ranking": [%s]}' % ("9" * 4000), '{"ranking": ["\ud800"]}', "\ud800", "\x1b[2J\x07",
        '{"ranking": [NaN, Infinity, 1e999]}',
    ],
)  # fmt: skip
def test_any_content_gives_a_line(oracle, content, tmp_path):
    with served(lambda _, wire: wire.say(content)) as (address, _):
        (ranking,) = ask(oracle(address), [REQUEST])
    assert not ranking.valid and 0 < len(ranking.reason) <= 300
    assert ranking.reason.isprintable()
    (tmp_path / "kept").write_text(ranking.reason, encoding="utf-8")


ECHOES = {
    "as it is": KEY,
    "percent-encoded": "sk-Secret%2F0123%2B456",
    "in capitals": KEY.upper(),
    "with JSON's escapes": KEY.replace("S", "\\u0053").replace("/", "\\u002f"),
    "at the cut": "x" * 183 + KEY,  # nine of its letters are before it
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [200, 401])
def test_the_key_is_not_kept_if_the_server_repeats_it(oracle, monkeypatch, caplog, echo, status):
    def reply(body, wire):
        if status == 200:
            wire.say(f"no order, {echo} {{{echo}}}")
        else:
            wire.send(status, f"bad key {echo}".encode(), X_Key=echo)

    monkeypatch.setenv("JUDGE_KEY", KEY + "\n")
    with caplog.at_level(logging.DEBUG), served(reply) as (address, bodies):
        judge = oracle(address, key_variable="JUDGE_KEY")
        (ranking,) = ask(judge, [REQUEST])
    assert bodies[0][1]["Authorization"] == f"Bearer {KEY}"
    kept = (ranking.reason + ranking.raw + caplog.text).lower()
    for form in (echo.lower(), KEY.lower(), KEY.lower()[:9]):
        assert form not in kept
    assert not ranking.valid and ("[hidden key]" in ranking.reason or "xxx" in echo)


def test_the_key_is_not_kept_of_a_valid_reply(oracle, monkeypatch):
    def reply(body, wire):
        wire.say(f"{KEY}: " + json.dumps({"ranking": asked(body)[0]}))

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with served(reply) as (address, _):
        judge = oracle(address)
        (ranking,) = ask(judge, [REQUEST])
        (bare,) = judge.rank([REQUEST])  # as a judge of predictions asks: nothing is in between
    assert ranking.valid and ranking.raw.startswith("[hidden key]: {")
    assert bare.valid and KEY not in bare.raw


def test_a_key_that_no_header_holds_is_refused_without_showing_it(oracle, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    with pytest.raises(UserError, match="OPENAI_API_KEY .*characters that no key has") as refused:
        oracle("http://127.0.0.1:1/v1")
    assert "two" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:pa55word@127.0.0.1:1/v1", "https://pa55word@host/v1", "http:me:pa55word@host",
        "http://host/v1?key=pa55word", "http://host/v1#pa55word", "//me:pa55word@host",
    ],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_without_showing_it(oracle, address):
    with pytest.raises(UserError, match="oracle.served.address holds a") as refused:
        oracle(address)
    assert "pa55word" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "http://", "http://host:99999/v1", "http://host:x", "http://h\xf6st/v1",
     "http://a b/v1", "ftp://host/v1", "http://[::1/v1", 5],
)  # fmt: skip
def test_what_is_no_address_is_refused(oracle, address):
    with pytest.raises(UserError, match="oracle.served.address is"):
        oracle(address)


def test_a_proxy_of_the_environment_is_used(oracle, monkeypatch):
    with served(by_length) as (address, bodies):
        monkeypatch.setenv("http_proxy", address.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        assert oracle("http://judge.invalid/v1").rank([REQUEST])[0].valid
        assert bodies[0][1]["Host"] == "judge.invalid"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert oracle(address).rank([REQUEST])[0].valid
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(UserError, match="a proxy of the kind 'socks5'"):
        oracle("http://judge.invalid/v1")


def test_a_name_that_does_not_resolve_is_a_line(oracle):
    (ranking,) = oracle("http://judge.invalid/v1", timeout=3.0).rank([REQUEST])
    assert ranking.reason.startswith(("connection failed: ConnectError", "timed out"))
    assert os.environ.get("http_proxy") is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_is_checked_and_bounded(oracle, monkeypatch, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command.split() + subject, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with served(by_length, context) as (address, bodies):
        assert address.startswith("https://")
        (unknown,) = oracle(address).rank([REQUEST])
        assert unknown.reason == "connection failed: ConnectError" and not bodies
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusting, large = oracle(address), RankRequest("p", "?", ("x" * 2_000_000, "b"))
        assert all(ranking.valid for ranking in trusting.rank([REQUEST, large]))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        address = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        assert oracle(address).rank([REQUEST])[0].reason == "timed out: ConnectTimeout"
        assert time.monotonic() - start < 5
