"""A person's session, and the file that keeps every order, whatever happens."""

import json
import math
import os

import pytest
from people_groups import make_request, rows

from orl_jax.oracles.groups import read_groups
from orl_jax.oracles.people.orders import Orders
from orl_jax.oracles.people.session import Session
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError

REQUESTS = [make_request(number) for number in range(3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "anna.jsonl"


@pytest.fixture
def begin(path):
    """Opens a session after closing the previous one."""
    opened = []

    def begin(requests=REQUESTS, ranker="anna", **options):
        for one in opened:
            one.close()
        opened.append(Orders(path, ranker))
        return Session(requests, opened[-1], **options)

    yield begin
    for one in opened:
        one.close()


def named(session, place, *texts):
    """The order, as indices of the shown texts, that ranks these texts best first."""
    shown = session.view(place)["texts"]
    return [
        [shown.index(t) for t in text] if isinstance(text, tuple) else shown.index(text)
        for text in texts
    ]


def test_an_order_is_saved_in_the_schema_of_groups(begin, path):
    session = begin()
    order = named(session, 0, "grey", ("blue", "red"), "green")
    assert session.save(0, order, 12.345) == ""
    ((request, ranking),) = read_groups(path)
    assert request == REQUESTS[0]
    assert (ranking.ranks, ranking.valid) == ((2, 2, 4, 2, 0), True)
    (row,) = rows(path)
    assert (row["ranker"], row["seconds"]) == ("anna", 12.35)


def test_answers_are_shown_once_shuffled_and_without_their_author(begin):
    session = begin()
    views = [session.view(place) for place in range(3)]
    assert all(sorted(view["texts"]) == ["blue", "green", "grey", "red"] for view in views)
    assert begin().view(1) == views[1]
    many = [make_request(n) for n in range(40)]
    assert len({begin(many).view(n)["texts"] for n in range(40)}) > 10
    reversed_request = make_request(1, REQUESTS[1].responses[::-1])
    assert begin([reversed_request]).view(0)["texts"] == views[1]["texts"]
    assert len({begin(seed=seed).view(0)["texts"] for seed in range(9)}) > 2
    assert "secret" not in json.dumps(views)
    assert begin(show_reference=True).view(0)["reference"] == "It is a secret."


def test_a_text_is_marked_as_cut_only_if_every_copy_was(begin):
    flags = (True, True, False, False, False)
    view = begin([make_request(0, truncated=flags)]).view(0)
    assert dict(zip(view["texts"], view["cut"], strict=True)) == {
        "red": False, "blue": True, "green": False, "grey": False,
    }  # fmt: skip


def test_a_session_resumes_where_it_ended(begin):
    session = begin()
    session.save(0, [0, 1, 2, 3], 10)
    session.skip(1, 20)
    order = session.view(0)["order"]
    session = begin()
    assert session.next_open() == 2
    assert session.view(0)["order"] == order == [[0], [1], [2], [3]]
    assert session.view(1)["skipped"] and session.view(1)["order"] is None
    counts = session.progress()
    assert (counts["done"], counts["total"], counts["skips"]) == (2, 3, 1)
    assert counts["seconds_left"] == 15
    session.save(2, [0, 1, 2, 3], 1)
    assert session.next_open() is None


def test_the_next_open_group_is_searched_from_the_current_one(begin):
    session = begin()
    assert (session.next_open(0), session.next_open(2)) == (1, 0)


def test_a_skip_is_an_invalid_group(begin, path):
    begin().skip(0, 1)
    ranking = read_groups(path)[0].ranking
    assert (ranking.valid, ranking.reason) == (False, "skipped by anna")


def test_a_correction_replaces_the_order_and_leaves_one_line(begin, path):
    session = begin()
    for order, seconds in (([0, 1, 2, 3], 10), ([3, 2, 1, 0], 5)):
        session.save(0, order, seconds)
    session.save(1, [0, 1, 2, 3], 1)
    assert len(rows(path)) == 3
    session.close()
    assert [row["prompt_id"] for row in rows(path)] == ["train/0", "train/1"]
    assert [row["seconds"] for row in rows(path)] == [15, 1]
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert begin().view(0)["order"] == [[3], [2], [1], [0]]


@pytest.mark.parametrize(
    "order", [None, [], [0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 4], "0123", {"0": 1}, [0, 1, 2, [[3]]],
              [0, 1, 2, True], [0, 1, 2, 3.0]],
)  # fmt: skip
def test_invalid_orders_are_not_saved(begin, path, order):
    assert begin().save(0, order, 1)
    assert not path.read_bytes()


@pytest.mark.parametrize("seconds", [None, "1", -1, math.nan, math.inf, True])
def test_invalid_times_are_not_saved(begin, path, seconds):
    session = begin()
    assert "seconds is" in session.save(0, [0, 1, 2, 3], seconds) == session.skip(0, seconds)
    assert not path.read_bytes()
    assert session.save(0, [0, 1, 2, 3], 10**400) == "" and rows(path)[0]["seconds"] == 86400


def test_a_group_with_one_distinct_answer_is_saved_as_tied_and_not_shown(begin, path):
    session = begin([make_request(0, ("red", "red")), REQUESTS[1]])
    assert (session.alike, session.progress()["total"]) == (1, 1)
    assert rows(path)[0]["oracle_ranks"] == [0.5, 0.5]
    assert begin([make_request(0, ("red", "red")), REQUESTS[1]]).alike == 1
    assert len(rows(path)) == 1


def test_a_limit_and_duplicate_groups(begin):
    session = begin([REQUESTS[0], REQUESTS[1], REQUESTS[0], REQUESTS[2]])
    assert session.requests == REQUESTS
    session.save(2, [0, 1, 2, 3], 1)
    session = begin(limit=2)
    assert session.requests == REQUESTS[:2] and session.progress()["done"] == 0
    with pytest.raises(IndexError):
        session.save(2, [0, 1, 2, 3], 1)


def test_orders_of_other_groups_are_refused(begin, path):
    begin().save(0, [0, 1, 2, 3], 1)
    with pytest.raises(
        UserError, match=r"of 1 groups that are not in --groups \(.* prompt train/0"
    ):
        begin(REQUESTS[1:])
    with pytest.raises(UserError, match="not in --groups"):
        begin([make_request(0, ("other", "answers"))])
    assert len(rows(path)) == 1


def test_another_persons_file_is_refused(begin, path):
    begin().save(0, [0, 1, 2, 3], 1)
    with pytest.raises(UserError, match="orders of anna, not of ben; name another --output"):
        begin(ranker="ben")
    assert begin().progress()["done"] == 1


def test_a_table_of_rollouts_is_refused_as_the_output(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"prompt_id": 1, "question": "Q", "responses": ["a"]}) + "\n")
    with pytest.raises(UserError, match="line 1, is not a person's order"):
        Orders(path, "anna")


def test_a_folder_is_refused_as_the_output(tmp_path):
    with pytest.raises(UserError, match="is a folder; name a file"):
        Orders(tmp_path, "anna")


def test_two_sessions_cannot_share_a_file(begin, path):
    begin()
    with pytest.raises(
        UserError, match=rf"in use by process {os.getpid()} on .*name another --output"
    ):
        Orders(path, "anna")


def test_a_session_without_orders_leaves_no_file(begin, path):
    begin().close()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "my notes"])
def test_a_file_that_it_did_not_make_is_never_deleted_or_cut(path, text):
    path.parent.mkdir()
    path.write_text(text)
    link = path.with_name("link")
    link.symlink_to(path)
    for place in (path, link):
        if text:
            with pytest.raises(UserError, match="something else than orders; name another"):
                Orders(place, "anna")
        else:
            Orders(place, "anna").close()
        assert link.is_symlink() and path.read_text() == text
    assert {each.name for each in path.parent.iterdir()} == {path.name, "link"}


def test_corrections_through_a_link_leave_the_link(begin, path, tmp_path):
    link = tmp_path / "link.jsonl"
    path.parent.mkdir()
    link.symlink_to(path)
    orders = Orders(link, "anna")
    for order in ([0, 1], [1, 0]):
        orders.add(REQUESTS[0], Ranking.from_order([*order, 2, 3], 4), 1)
    orders.close()
    assert link.is_symlink() and len(rows(path)) == 1


def test_a_device_and_a_fifo_are_refused_as_the_output(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for place in ("/dev/null", tmp_path / "fifo"):
        with pytest.raises(UserError, match="is not a regular file; name one"):
            Orders(place, "anna")
    assert os.path.exists("/dev/null")


def test_a_partial_last_line_is_moved_to_another_file(begin, path):
    session = begin()
    session.save(0, [0, 1, 2, 3], 1)
    session.save(1, [0, 1, 2, 3], 1)
    session.close()
    path.write_bytes(path.read_bytes()[:-30])
    session = begin()
    assert session.progress()["done"] == 1
    session.save(1, [3, 2, 1, 0], 1)
    assert len(rows(path)) == 2
    assert path.with_name("anna.jsonl.half").read_text().startswith('{"prompt_id": "train/1"')


def test_a_last_line_without_a_newline_is_kept(begin, path):
    session = begin()
    session.save(0, [0, 1, 2, 3], 1)
    session.close()
    path.write_bytes(path.read_bytes().rstrip())
    session = begin()
    session.save(1, [0, 1, 2, 3], 1)
    assert [row["prompt_id"] for row in rows(path)] == ["train/0", "train/1"]


def test_a_full_disk_leaves_no_partial_line(begin, path, monkeypatch):
    session = begin()
    session.save(0, [0, 1, 2, 3], 1)
    before, write = path.read_bytes(), os.write

    def full(file, data):
        write(file, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            session.save(1, [0, 1, 2, 3], 1)
    assert path.read_bytes() == before and session.next_open() == 1
    session.save(1, [0, 1, 2, 3], 1)
    assert len(rows(path)) == 2


def test_nothing_is_lost_when_the_file_cannot_be_rewritten(begin, path, monkeypatch, caplog):
    session = begin()
    session.save(0, [0, 1, 2, 3], 1)
    session.save(0, [3, 2, 1, 0], 1)

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        session.close()
    assert len(rows(path)) == 2 and "keeps its corrected lines" in caplog.text
    assert begin().view(0)["order"] == [[3], [2], [1], [0]]


def test_nothing_is_saved_after_closing(begin):
    session = begin()
    session.close()
    with pytest.raises(RuntimeError, match="is closed"):
        session.save(0, [0, 1, 2, 3], 1)
