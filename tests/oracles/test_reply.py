"""Parsing replies of a judge: which text states an order, and which does not."""

import random
import time

import pytest
from fault_server import bad_reply

from orl_jax.oracles.served.reply import ReplyError, parse, parse_pair

LABELS = ["K7R4", "M2Q9", "B5T3"]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ('{"ranking": [["M2Q9"], ["K7R4", "B5T3"]]}', [[1], [0, 2]]),
        ('{"ranking": ["B5T3", "M2Q9", "K7R4"]}', [[2], [1], [0]]),
        ('Sure!\n```json\n{"ranking": [["B5T3", "M2Q9", "K7R4"]]}\n```\nBye', [[2, 1, 0]]),
        ('["m2q9", "K7R4", "B5T3"]', [[1], [0], [2]]),
        ("First {x}, then: K7R4 > M2Q9 = B5T3", [[0], [1, 2]]),
        ("**M2Q9** > `K7R4` > B5T3.", [[1], [0], [2]]),
        ("Ranking, from best to worst:\nK7R4 > M2Q9 = B5T3", [[0], [1, 2]]),
        ("Best first, worst last: K7R4 -> M2Q9 -> B5T3", [[0], [1], [2]]),
        # Cut off, but the only order.
        ('{"why": ["a"], "ranking": [["B5T3"], ["M2Q9", "K7R4"]]', [[2], [1, 0]]),
        # Of two orders the last one counts: what comes before is thought.
        ('{"ranking": ["B5T3","M2Q9","K7R4"]} no, {"ranking": ["K7R4","M2Q9","B5T3"]}',
         [[0], [1], [2]]),
    ],
)  # fmt: skip
def test_orders_that_count(text, order):
    assert parse(text, LABELS) == order


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty reply"), (None, "empty reply"), ("K7R4 is best", "no order"),
        ('{"ranking": ["K7R4", "M2Q9"]}', "missing labels: 1 of 3"),
        ('{"ranking": ["K7R4", "M2Q9", "B5T3", "K7R4"]}', "labels named more than once"),
        ('{"ranking": ["A", "M2Q9", "B5T3"]}', "unknown labels: A"),
        ('{"ranking": [0, 1, 2]}', "not a label"), ("x" * 300_000, "too long a reply"),
        # Which of the two would count?
        ('{"ranking": ["K7R4","M2Q9","B5T3"], "ranking": ["B5T3","M2Q9","K7R4"]}', "no order"),
        ('{"ranking": ["K7R4","M2Q9","B5T3"], "ranking": ["B5T3","M2Q9","K7R4"]', "no order"),
        ('{"a": {"ranking": ["K7R4","M2Q9","B5T3"], "x": 1, "x": 2}}', "no order"),
        ('[{"a": 1, "a": 2}, "K7R4", "M2Q9", "B5T3"]', "no order"),
        # Parts of an order.
        ('{"ranking": [["K7R4","M2Q9","B5T3"]', "no order"),
        ('{"ranki}["K7R4","M2Q9","B5T3"]]}', "no order"),
        ('"B5T3"["K7R4","M2Q9","B5T3"]', "no order"),
        ('[["K7R4"]["M2Q9",["K7R4"],"B5T3"]', "no order"),
        # Sentences that deny the order that they hold.
        ("It is not true that K7R4 > M2Q9 > B5T3", "no order"),
        ("The wrong order would be: K7R4 > M2Q9 > B5T3", "no order"),
        ("The reverse is wrong:\n\nK7R4 > M2Q9 > B5T3", "no order"),
        ("From worst to best: K7R4 > M2Q9 > B5T3", "no order"),
        ("I wouldn't say K7R4 > M2Q9 = B5T3", "no order"),
        ("B5T3 < M2Q9 = K7R4", "no order"), ("K7R4 > M2Q9, and B5T3 = x", "no order"),
        ("K7R4 > M2Q9 > B5T3 > K7R4", "named more than once"),
    ],
)  # fmt: skip
def test_replies_that_do_not_count(text, reason):
    with pytest.raises(ReplyError, match=reason):
        parse(text, LABELS)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ('{"best": "M2Q9"}', [[1], [0]]), ('I say {"best": "k7r4"}.', [[0], [1]]),
        ('{"best": "B5T3"}', [[0, 1]]), ('{"best": "K7R4"} or {"best": "M2Q9"}', [[1], [0]]),
        ('{"ranking": [["M2Q9"], ["K7R4"]]}', [[1], [0]]), ("M2Q9 = K7R4", [[1, 0]]),
        ("The second, m2q9, is right.", [[1], [0]]), ('M2Q9", "both', [[1], [0]]),
        ("B5T3", [[0, 1]]), ("**K7R4**", [[0], [1]]), ("Answer: `m2q9`.", [[1], [0]]),
        ("I would say the best answer is M2Q9.", [[1], [0]]), ("K7R4 is right!", [[0], [1]]),
        ('"both equally good": "B5T3"', [[0, 1]]), ('{"better": "M2Q9"}', [[1], [0]]),
    ],
)  # fmt: skip
def test_pairs_that_count(text, order):
    assert parse_pair(text, LABELS) == order


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"best": "tie"}', "unknown labels: TIE"), ('{"best": ["K7R4"]}', "not a label"),
        ('{"best": "Z9Z9"}', "unknown labels"), ("", "empty reply"),
        ("K7R4 is better than M2Q9", "no order"), ("neither", "no order"),
        ('{"ranking": ["K7R4", "Z9Z9"], "not": "M2Q9"}', "unknown labels"),
        ('{"best": "K7R4", "best": "M2Q9"}', "no order"),
        ('{"best": "K7R4", "best": "K7R4", "x": [', "no order"),
        # Sentences that condemn the only label that they name.
        *((sentence, "no order") for sentence in (
            "K7R4 is wrong.", "The answer K7R4 is not right.", "K7R4 isn't the best.",
            '{"worst": "K7R4"}', "Anything but K7R4.", "K7R4 misses the point.", "Avoid K7R4!",
            "The other answer is better than K7R4.", "K7R4 is second best.", "K7R4 comes second.",
            "Is K7R4 right?", "K7R4 is less accurate", "I prefer the one that isn\u2019t K7R4",
            "K7R4 is the more wrong of the two", "K7R4 is the second", "never K7R4", "K7R4 loses",
            "Reject K7R4 as the best answer", "not (K7R4 > M2Q9)", "K7R4 is good", "Not K7R4",
        )),
    ],
)  # fmt: skip
def test_pairs_that_do_not_count(text, reason):
    with pytest.raises(ReplyError, match=reason):
        parse_pair(text, LABELS)


def test_ten_thousand_bad_replies_never_count():
    rng = random.Random(0)
    for _ in range(10_000):
        with pytest.raises(ReplyError):
            parse(bad_reply(LABELS, rng), LABELS)
        reply = bad_reply(LABELS[:2], rng)
        if not all(label in str(reply) for label in LABELS[:2]):
            continue  # a single one may be meant
        with pytest.raises(ReplyError):
            parse_pair(reply, LABELS)


@pytest.mark.parametrize("bracket", ["[", "{", '{"ranking":['])
def test_hostile_nesting_takes_no_time(bracket):
    start = time.monotonic()
    with pytest.raises(ReplyError):
        parse(bracket * (199_000 // len(bracket)), LABELS)
    assert time.monotonic() - start < 5
