"""The page's HTTP against a real server: clips in parts, posts of every kind, kills."""

import json
import os
import signal
import threading
import time

import pytest
from page_client import Page
from people_groups import make_request, rows

from orl_jax.oracles.groups import read_groups
from orl_jax.oracles.people.orders import Orders
from orl_jax.oracles.people.ranges import parse_range
from orl_jax.oracles.people.server import LARGEST_POST, Server
from orl_jax.oracles.people.session import Session
from orl_jax.run.errors import UserError

CLIP = bytes(range(100))
ORDER = {"order": [3, [0, 1], 2], "seconds": 4.5}
COUNT = 24


@pytest.fixture
def page(tmp_path, output):
    (tmp_path / "videos").mkdir()
    for name in ("videos/0.mp4", "secret.txt"):
        (tmp_path / name).write_bytes(CLIP)
    (tmp_path / "videos/2.mp4").touch()
    requests = [make_request(number) for number in range(COUNT)]
    requests[3] = make_request(3, video=None)
    session = Session(requests, Orders(output, "anna"))
    with Server("127.0.0.1", 0, session, str(tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Page(server.server_port)
        server.shutdown()
        thread.join()
        session.close()


def test_the_page_forbids_content_from_other_origins(page):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/java")):
        status, headers, content = page.get(path)
        assert status == 200 and headers["Content-Type"].startswith(kind) and content
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in content and b"https://" not in content
        assert b"innerHTML" not in content


@pytest.mark.parametrize(
    "header, part",
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-900", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=99-99", (99, 100)),
        ("bytes=0-0,5-6", None),
        ("bytes=9-0", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("lines=0-9", None),
        ("", None),
    ],
)
def test_a_clip_is_served_in_parts(page, header, part):
    status, headers, content = page.get("/videos/0", **({"Range": header} if header else {}))
    assert content == CLIP[slice(*part)] if part else content == CLIP
    assert status == (206 if part else 200) and headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Type"] == "video/mp4"
    expected = f"bytes {part[0]}-{part[1] - 1}/100" if part else None
    assert headers["Content-Range"] == expected


def test_a_range_after_the_end_is_refused(page, capfd):
    for header in ("bytes=100-", "bytes=-0", "bytes=5000-6000"):
        assert page.get("/videos/0", Range=header)[0] == 416
    assert page.get("/videos/2")[0::2] == (200, b"")  # an empty file
    assert not capfd.readouterr().err
    with pytest.raises(ValueError, match="of a file of 0"):
        parse_range("bytes=0-", 0)


def test_a_group_without_its_clip_can_be_ranked(page, tmp_path):
    missing = str(tmp_path / "videos/1.mp4")
    assert json.loads(page.get("/groups/1")[2])["missing_video"] == missing
    assert json.loads(page.get("/groups/0")[2])["missing_video"] is None
    assert json.loads(page.get("/groups/3")[2])["has_video"] is False
    assert page.get("/videos/1")[0] == page.get("/videos/3")[0] == 404
    assert page.post("/groups/1", ORDER)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt", "/videos/../secret.txt", "/videos/%2e%2e/secret.txt", "/videos/0/../../x",
        "/videos/0.mp4", "/videos/-1", "/videos/999", "/videos/", "//secret.txt", "/page.html",
        "/../setup.py", "/groups/24", "/groups/next/", "/groups/0?x", "/videos/%30", "/groups",
        "http://127.0.0.1/secret.txt", "/videos/000000000000000000000",
    ],
)  # fmt: skip
def test_no_url_reaches_a_file(page, path):
    status, _, content = page.get(path)
    assert status == 404 and CLIP not in content


def test_the_reply_to_a_saved_order_is_the_next_group(page, output):
    status, answer = page.post("/groups/0", ORDER)
    assert (status, answer["place"], answer["done"]) == (200, 1, 1)
    ranking = read_groups(output)[0].ranking
    assert ranking.valid and rows(output)[0]["seconds"] == 4.5
    status, answer = page.post("/groups/1", {"skip": True, "seconds": 2})
    assert (answer["place"], answer["skips"]) == (2, 1)
    assert json.loads(page.get("/groups/next")[2])["place"] == 2
    assert json.loads(page.get("/groups/0")[2])["order"] == [[3], [0, 1], [2]]


@pytest.mark.parametrize(
    "said, status",
    [
        (b"", 400), (b"[]", 400), (b"{", 400), (b"\xff", 400), (b"[" * 60000, 400), ({}, 400),
        (ORDER | {"order": [0, 1, 2]}, 400), (ORDER | {"order": [0, 0, 1, 2]}, 400),
        (ORDER | {"order": [0, 1, 2, 7]}, 400), (ORDER | {"order": {"a": 1}}, 400),
        (ORDER | {"seconds": -1}, 400), (ORDER | {"seconds": "long"}, 400),
        ({"order": ORDER["order"]}, 400), ({"skip": "yes", "seconds": 1}, 400),
        (b'{"order": [0, 1, 2, 3], "seconds": NaN}', 400), (b" " * (LARGEST_POST + 1), 413),
    ],
)  # fmt: skip
def test_an_invalid_post_is_refused_and_not_saved(page, output, said, status):
    got, answer = page.post("/groups/0", said)
    assert got == status and answer["error"]
    assert not output.read_bytes()
    assert page.post("/groups/0", ORDER)[0] == 200


def test_a_post_from_another_site_is_refused(page, output):
    foreign = {"Origin": "http://evil.example"}
    assert page.post("/groups/0", ORDER, **foreign)[0] == 403
    assert page.post("/groups/0", ORDER, Origin="null")[0] == 403
    assert page.post("/groups/0", ORDER, Content_Type="text/plain")[0] == 415
    assert page.post("/groups/0", ORDER, Origin="http://127.0.0.1:1")[0] == 403
    assert not output.read_bytes()
    own = f"http://127.0.0.1:{page.port}"
    assert page.post("/groups/0", ORDER, Origin=own)[0] == 200


def test_a_foreign_host_name_is_refused(page):
    for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", ""):
        for path in ("/", "/groups/0", "/videos/0"):
            assert page.get(path, Host=host)[0] == 403
        assert page.post("/groups/0", ORDER, Host=host, Origin=f"http://{host}")[0] == 403
    for host in (f"localhost:{page.port}", "127.0.0.1", "[::1]:9000", "LOCALHOST:9000"):
        assert page.get("/groups/0", Host=host)[0] == 200


def test_concurrent_posts_are_all_saved(page, output, monkeypatch):
    said, saving, sync = [None] * COUNT, threading.Lock(), os.fsync

    def fsync(file):
        assert saving.acquire(blocking=False)  # one at a time
        time.sleep(0.002)
        sync(file)
        saving.release()

    monkeypatch.setattr(os, "fsync", fsync)

    def post(place):
        said[place] = page.post(f"/groups/{place}", ORDER)[0]

    threads = [threading.Thread(target=post, args=(place,)) for place in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [200] * COUNT
    assert sorted(r["prompt_id"] for r in rows(output)) == sorted(
        f"train/{i}" for i in range(COUNT)
    )
    assert json.loads(page.get("/groups/next")[2])["place"] is None


def test_a_failed_save_is_reported(page, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        status, answer = page.post("/groups/0", ORDER)
    assert status == 503 and "No space left" in answer["error"]
    assert page.post("/groups/0", ORDER)[0] == 200


def test_a_port_in_use_is_a_user_error(page, output):
    with pytest.raises(UserError, match=f"--port={page.port}: .*choose another port"):
        Server("127.0.0.1", page.port, Session([make_request(0)], Orders(f"{output}2", "x")), "")


def test_kills_lose_nothing(script, output):
    for place in range(3):
        process, page = script()
        assert json.loads(page.get("/groups/next")[2])["place"] == place
        assert page.post(f"/groups/{place}", ORDER)[1]["done"] == place + 1
        process.kill()
        process.wait()
        assert len(rows(output)) == place + 1


def test_ctrl_c_ends_the_server_and_reports_progress(script, output):
    process, page = script()
    page.post("/groups/0", ORDER)
    page.post("/groups/0", {"skip": True, "seconds": 1})
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"1 of 6 groups are done (1 skipped): {output}" in log
    assert "6 videos are missing" in log
    assert len(rows(output)) == 1


def test_a_missing_flag_is_a_user_error(script):
    process, _ = script("--output=")
    assert "--output is missing; for example" in process.communicate()[1]
    assert process.returncode == 2
