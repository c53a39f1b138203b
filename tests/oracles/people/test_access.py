"""Which files the page serves, and to whom: nothing but clips, nobody without the token."""

import contextlib
import json
import threading

import pytest
from page_client import Page
from people_groups import make_request

from orl_jax.oracles.people.access import is_loopback
from orl_jax.oracles.people.orders import Orders
from orl_jax.oracles.people.server import Server
from orl_jax.oracles.people.session import Session

SECRET = b"a private file"
ORDER = {"order": [3, [0, 1], 2], "seconds": 4.5}


@contextlib.contextmanager
def serving(output, folder, videos, host="127.0.0.1"):
    requests = [make_request(number, video=video) for number, video in enumerate(videos)]
    session = Session(requests, Orders(output, "anna"))
    with Server(host, 0, session, str(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server, Page(server.server_port)
        finally:
            server.shutdown()
            thread.join()
            session.close()


def test_only_videos_of_the_list_are_served(tmp_path, output):
    folder = tmp_path / "videos"
    (folder / "inner").mkdir(parents=True)
    for name in ("secret.txt", "secret.mp4", "listed.webm", "videos/inner/0.mp4"):
        (tmp_path / name).write_bytes(SECRET)
    (folder / "link.mp4").symlink_to(tmp_path / "secret.txt")
    (folder / "fine.mp4").symlink_to(tmp_path / "secret.mp4")
    refused = [
        "/etc/passwd", "../secret.txt", "../secret.mp4", "inner/../../secret.mp4", "link.mp4",
        "a\0.mp4", "inner", "..", str(tmp_path / "secret.txt"),
    ]  # fmt: skip
    allowed = ["inner/0.mp4", "inner/../inner/0.mp4", "fine.mp4", str(tmp_path / "listed.webm")]
    with serving(output, folder, refused + allowed) as (server, page):
        replies = [page.get(f"/videos/{place}") for place in range(len(refused + allowed))]
        assert server.clips.refused == refused
        assert json.loads(page.get("/groups/0")[2])["missing_video"] == "/etc/passwd"
    assert [status for status, _, _ in replies] == [404] * len(refused) + [200] * len(allowed)
    types = [headers["Content-Type"] for _, headers, _ in replies[len(refused) :]]
    assert types == ["video/mp4"] * 3 + ["video/webm"]


@pytest.mark.parametrize("host, safe", [("::1", 1), ("localhost", 1), ("127.9.9.9", 1), ("", 0),
                                        ("0.0.0.0", 0), ("::", 0), ("machine", 0)])  # fmt: skip
def test_loopback(host, safe):
    assert is_loopback(host) == bool(safe)


def test_elsewhere_nothing_is_served_without_the_token(tmp_path, output):
    (tmp_path / "0.mp4").write_bytes(SECRET)
    with serving(output, tmp_path, ["0.mp4"], host="0.0.0.0") as (server, page):
        start, _, token = server.address.partition("/?token=")
        assert start == f"http://0.0.0.0:{page.port}" and len(token) > 20
        cookie = f"token_{page.port}={token}"
        wrong = (
            "",
            "token=",
            f"token_{page.port}=x",
            f"token_1={token}",
            "\x01;=",
            "a,b=1",
            f"token_{page.port}=ü",
        )
        for path in (
            "/",
            "/page.js",
            "/groups/0",
            "/videos/0",
            "/?token=x",
            "/?token=%C3%BC",
            f"/x?token={token}",
        ):
            for each in wrong:
                assert page.get(path, Cookie=each)[0] == 403
        assert page.post("/groups/0", ORDER)[0] == 403
        assert page.post(f"/?token={token}", ORDER)[0] == 403
        assert not output.read_bytes()
        status, headers, content = page.get(f"/?token={token}")
        assert status == 200 and b"<title>Rank by hand" in content
        assert headers["Set-Cookie"] == f"{cookie}; HttpOnly; SameSite=Strict; Path=/"
        assert page.get("/videos/0", Cookie=cookie)[2] == SECRET
        assert page.get("/page.js", Cookie=f"other=1; {cookie}")[0] == 200
        assert page.post("/groups/0", ORDER, Cookie=cookie)[0] == 200


def test_on_loopback_there_is_no_token(tmp_path, output):
    with serving(output, tmp_path, [None]) as (server, page):
        assert server.address == f"http://127.0.0.1:{page.port}"
        assert "Set-Cookie" not in page.get("/")[1]
        assert page.get("/?token=")[0] == 404
