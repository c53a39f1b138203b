"""The cache of replies: nothing in a folder from elsewhere is believed or run."""

import concurrent.futures
import json
import logging
import multiprocessing
import os
import pickle
import sqlite3

import pytest
from fault_server import by_length, served

from orl_jax.oracles import RankRequest, ask
from orl_jax.oracles.served import ServedOracle, Settings
from orl_jax.oracles.served.cache import FILE, DiskCache, make_key
from orl_jax.run.errors import Failure, UserError

NAME = "oracle.served.cache"
REQUEST = RankRequest("p0", "Where?", ("It moves up slowly.", "Up", "It moves up."))


def is_list(value):
    return isinstance(value, list)


@pytest.fixture
def cache(tmp_path):
    """A cache in an empty folder."""
    cache = DiskCache(str(tmp_path / "cache"), NAME)
    yield cache
    cache.close()


def change(cache, statement, *values):
    """Changes the file of a cache as somebody else might."""
    folder = cache._path.parent
    cache.close()
    with sqlite3.connect(folder / FILE) as db:
        db.execute(statement, values)
    db.close()
    return DiskCache(str(folder), NAME)


def test_it_keeps_json_and_counts_use(cache):
    assert cache.get("a", is_list) is None
    cache.put("a", [1.5, None])
    cache.put("a", [2.0])
    assert cache.get("a", is_list) == [2.0] and cache.get("b", is_list) is None
    again = DiskCache(str(cache._path.parent), NAME)
    assert again.get("a", is_list) == [2.0]
    again.close()
    assert DiskCache("", NAME).get("a", is_list) is None  # keeps nothing
    assert make_key("judge", ["yes", "no"]) == make_key("judge", ["yes", "no"])


@pytest.mark.parametrize(
    "value",
    [
        "{", "[" * 100_000, "[1]" + "\x00", "9" * 5000, '{"a": 1}', "null", 7, 1.5, b"[1]",
        b"\xff\xfe", pickle.dumps([1.0]), "[" + "1," * 3_000_000 + "1]",
    ],
)  # fmt: skip
def test_a_bad_row_is_dropped_alone(cache, value, caplog):
    cache.put("good", [1.0])
    bad = change(cache, "INSERT INTO replies VALUES ('bad', ?, 1)", value)
    assert bad.get("bad", is_list) is None and "a row that is not a reply" in caplog.text
    assert bad.get("good", is_list) == [1.0]
    caplog.clear()
    assert bad.get("bad", is_list) is None and not caplog.text  # it is not there any more
    bad.put("bad", [3.0])
    assert bad.get("bad", is_list) == [3.0]
    bad.close()


class Runs:
    """What a pickle from elsewhere may hold."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


def test_a_cache_of_an_earlier_version_is_never_opened(tmp_path, caplog):
    """As diskcache 5.6 wrote it: mode 4 is a pickle."""
    folder = tmp_path / "cache"
    folder.mkdir()
    with served(by_length) as (address, bodies):
        settings = Settings(address, "judge", cache=str(folder))
        first = ServedOracle(settings)
        asked = []
        first._cache.get = lambda key, check: asked.append(key)
        first.rank([REQUEST])
        first.close()
        (folder / FILE).unlink()
        with sqlite3.connect(folder / "cache.db") as db:
            db.execute(
                "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER,"
                " store_time REAL, expire_time REAL, access_time REAL, access_count INTEGER,"
                " tag BLOB, size INTEGER, mode INTEGER, filename TEXT, value BLOB)"
            )
            db.execute("INSERT INTO Cache VALUES (1, ?, 1, 0, NULL, 0, 0, NULL, 0, 4, NULL, ?)",
                       (asked[0], pickle.dumps(Runs(tmp_path / "run"))))  # fmt: skip
        db.close()
        second = ServedOracle(settings)
        assert second.rank([REQUEST])[0].valid and len(bodies) == 2
        second.close()
    assert not (tmp_path / "run").exists() and "is a cache of an earlier version" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"not a database at all, but some text", b"SQLite format 3\x00" + b"\xff" * 5000, None],
    ids=["empty", "text", "torn", "cut"],
)
def test_a_broken_file_is_set_aside(cache, content, caplog):
    for number in range(300):
        cache.put(str(number), ["x" * 100])
    folder = cache._path.parent
    cache.close()
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[:6000] if content is None else content)
    new = DiskCache(str(folder), NAME)
    for number in range(0, 300, 7):
        assert new.get(str(number), is_list) in (None, ["x" * 100])
        new.put(str(number), [1.0])
        assert new.get(str(number), is_list) == [1.0]
    new.close()
    again = DiskCache(str(folder), NAME)
    assert again.get("0", is_list) == [1.0]
    again.close()
    if content != b"":
        assert [path.name for path in folder.glob("*.broken*")] == [f"{FILE}.broken"]
        assert "and a new one is begun" in caplog.text


def test_a_file_that_is_broken_further_in_is_set_aside_when_it_is_used(cache, caplog):
    for number in range(300):
        cache.put(str(number), ["x" * 100])
    folder, page = cache._path.parent, 4096
    cache.close()
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[:page] + b"\xff" * (len(data) - page))  # its first page opens
    new = DiskCache(str(folder), NAME)
    assert not caplog.text
    assert new.get("7", is_list) is None and "and a new one is begun" in caplog.text
    new.put("7", [1.0])
    assert new.get("7", is_list) == [1.0]
    new.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON replies BEGIN DELETE FROM replies; END",
        "CREATE TABLE other (x)", "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE replies ADD COLUMN more AS (hex(zeroblob(100000000)))",
    ],
)  # fmt: skip
def test_a_database_with_something_else_in_it_is_set_aside(cache, statement, caplog):
    cache.put("a", [1.0])
    other = change(cache, statement)
    assert other.get("a", is_list) is None and "it has other tables than a cache" in caplog.text
    other.put("a", [2.0])
    assert other.get("a", is_list) == [2.0]
    other.close()


def test_the_least_recently_used_go_first(tmp_path):
    small = DiskCache(str(tmp_path), NAME, size_mb=0.1)
    for number in range(400):
        small.put(str(number), ["x" * 1000])
        assert small.get("0", is_list)  # used all the time
    kept = [n for n in range(400) if small.get(str(n), is_list)]
    assert 40 < len(kept) < 100 and kept[0] == 0 and kept[-1] == 399
    small.close()
    assert (tmp_path / FILE).stat().st_size < 200_000


@pytest.mark.parametrize(
    "ranks", [[0, 1, 2], [0.0, 1.0], [0.0, 1.0, 5.0], [0.0, 0.0, 0.0], ["a"] * 3, {}, [[0.0]] * 3]
)  # fmt: skip
def test_ranks_that_are_none_are_asked_for_again(tmp_path, ranks):
    with served(by_length) as (address, bodies):
        judge = ServedOracle(Settings(address, "judge", cache=str(tmp_path)))
        first = judge.rank([REQUEST])[0]
        judge._cache._db.execute("UPDATE replies SET value = ?", (json.dumps(ranks),))
        for _ in range(2):
            assert judge.rank([REQUEST])[0].ranks == first.ranks
        assert len(bodies) == 2
        judge.close()


def test_a_file_that_cannot_be_written_is_a_failure_with_a_line(tmp_path, caplog):
    """Not a ranking without a reason: what is paid for would be asked again and again."""
    with served(by_length) as (address, _):
        judge = ServedOracle(Settings(address, "judge", cache=str(tmp_path)))
        judge._cache._db.execute("PRAGMA max_page_count = 4")  # as on a full disk
        requests = [RankRequest("p", f"Where? {'x' * 50} {n}", ("a", "bb")) for n in range(500)]
        with pytest.raises(Failure, match="full.*free space.*or leave oracle.served.cache empty"):
            ask(judge, requests)
        judge.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="oracle.served.cache is .*cannot be made"):
        DiskCache(str(tmp_path / "file" / "folder"), NAME)
    (tmp_path / FILE).mkdir()
    with pytest.raises(UserError, match="is not a file; name another folder"):
        DiskCache(str(tmp_path), NAME)


def _fill(folder, start):
    cache = DiskCache(folder, NAME)
    for number in range(start, start + 100):
        cache.put(str(number), [float(number)])
    cache.close()


def test_several_processes_share_it(tmp_path, caplog):
    spawn = multiprocessing.get_context("spawn")
    with (
        caplog.at_level(logging.WARNING),
        concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool,
    ):
        list(pool.map(_fill, [str(tmp_path)] * 2, [0, 50]))
    cache = DiskCache(str(tmp_path), NAME)
    assert [cache.get(str(n), is_list) for n in range(150)] == [[float(n)] for n in range(150)]
    cache.close()
