"""Generated replies of a served Oracle, sent through a real connection; what became of each.

A reply either states an order, in one of the forms that count, or it does not, by construction: it
is cut, garbled, contradictory, a sentence that condemns, packed, slow, huge, nested, or no HTTP.
A mutation of a good reply may still state an order: its own, or the one that a second, strict
reader finds in it. Outcomes: "used", "refused" (an invalid ranking with a reason), or a fault:

wrong       a ranking that the reply does not state: it would be trained on
hang        longer than `BOUND`
traceback   anything raised
unclean     a reason that is empty, long, not one line, or has the key; a row that no file takes

    python tests/fuzz/replies.py 10000 0
"""

import gzip
import json
import os
import pathlib
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

sys.path[:0] = [str(pathlib.Path(__file__).parents[1])]

from fault_server import Wire, served

from orl_jax.evaluation.scoring.verdict import VerdictError, read_verdict
from orl_jax.oracles import Ranking, RankRequest, ask
from orl_jax.oracles.groups import read_groups, to_row
from orl_jax.oracles.served import ServedOracle, Settings
from orl_jax.run.files import write_json_lines

BOUND = 5.0  # seconds for a call whose deadline is a tenth of it
KEY = "sk-fuzz-0123456789"
Tiers = list[list[str]]  # labels, best first


class Plan(NamedTuple):
    """A reply to send and the order that it states, or None; `changed`: it was mutated since."""

    send: Callable[[Wire], None]
    order: Tiers | None
    text: str = ""
    changed: bool = False


class Asked(NamedTuple):
    """What a request shows: labels, the tie's label in pairwise mode, and their answers."""

    labels: list[str]
    tie: str
    answers: list[str]

    @property
    def names(self) -> list[str]:
        """All labels."""
        return [*self.labels, *([self.tie] if self.tie else [])]


def campaign(count: int, seed: int, folder: pathlib.Path) -> Counter[str]:
    """Sends `count` replies, drawn by `seed`; keeps what came of them in `folder` and reads it."""
    rng = random.Random(seed)
    os.environ["FUZZ_KEY"] = KEY
    sent: list[tuple[Plan, Asked]] = []

    def reply(body: dict[str, Any], wire: Wire) -> None:
        shown = _asked(body)
        sent.append((plan(shown, random.Random(rng.random())), shown))
        sent[-1][0].send(wire)

    outcomes: Counter[str] = Counter()
    rows = []
    with served(reply) as (address, bodies):
        settings = {
            "key_variable": "FUZZ_KEY", "attempts": 1, "timeout": 0.3, "deadline": BOUND / 10,
        }  # fmt: skip
        oracles = [
            ServedOracle(Settings(address, "fuzz", mode=mode, **settings), seed)
            for mode in ("listwise", "pairwise")
        ]
        for number in range(count):
            request, oracle = _request(number, rng)
            sent.clear()
            bodies.clear()
            found, ranking = _outcome(oracles[oracle], request, sent)
            outcomes[found] += 1
            if found not in ("used", "refused"):
                print(f"{found}: {sent[0][0].text[:300]!r} {ranking}", file=sys.stderr)
            if ranking is not None:
                rows.append(to_row(request, ranking))
        for each in oracles:
            each.close()
    write_json_lines(folder / "rows.jsonl", rows)
    read = read_groups(folder / "rows.jsonl")
    kept = (folder / "rows.jsonl").read_text(encoding="utf-8")
    if len(read) != len(rows) or KEY in kept:
        outcomes["unclean"] += 1
    return outcomes


def _request(number: int, rng: random.Random) -> tuple[RankRequest, int]:
    """A group with identical answers now and then; of two answers for pairwise mode."""
    pairwise = rng.random() < 0.3
    size = 2 if pairwise else rng.randrange(2, 6)
    answers = [f"answer {rng.randrange(9)} {'x' * rng.randrange(5)}" for _ in range(size)]
    if len(set(answers)) < 2 or (pairwise and len(set(answers)) != 2):
        answers = [f"answer {place}" for place in range(size)]
    return RankRequest(str(number), "Which?", tuple(answers)), int(pairwise)


def _outcome(
    oracle: ServedOracle, request: RankRequest, sent: list[tuple[Plan, Asked]]
) -> tuple[str, Ranking | None]:
    start = time.monotonic()
    try:
        (ranking,) = ask(oracle, [request])
    except BaseException:
        traceback.print_exc()
        return "traceback", None
    if time.monotonic() - start > BOUND:
        return "hang", ranking
    made, shown = sent[-1]  # of a second attempt, where a first was refused with its schema
    try:
        read_verdict(made.text, "K7R4M2Q9", True)
        return "wrong", ranking
    except VerdictError:
        pass
    except Exception:
        traceback.print_exc()
        return "traceback", ranking
    reason = ranking.reason
    clean = reason.isprintable() and len(reason) <= 300 and bool(reason) != ranking.valid
    if not clean or KEY in reason + ranking.raw:
        return "unclean", ranking
    if not ranking.valid:
        # The connection may still hold the bytes of an earlier fault.
        lost = reason.startswith(("connection failed", "timed out", "deadline passed"))
        return ("refused" if made.order is None or made.changed or lost else "wrong"), ranking
    orders = [made.order]
    if made.changed:
        orders += [_strictly_read(made.text, shown), _only_named(made.text, shown)]
    stated = [_ranks(order, shown, request) for order in orders if order]
    return ("used" if ranking.ranks in stated else "wrong"), ranking


def _ranks(order: Tiers, shown: Asked, request: RankRequest) -> tuple[float, ...]:
    level = {shown.answers[shown.labels.index(n)]: k for k, tier in enumerate(order) for n in tier}
    return Ranking.from_scores([-level[text] for text in request.responses]).ranks


def _strictly_read(text: str, shown: Asked) -> Tiers | None:
    """The order of a text that is one JSON value, by a reader of its own; else None.

    A mutated text that is not JSON as a whole may only count as what it was before.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
        tiers = value["ranking"] if "ranking" in value else [[value["best"]]]
        tiers = [[n.upper() for n in ([tier] if isinstance(tier, str) else tier)] for tier in tiers]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if tiers == [[shown.tie]] and shown.tie:
        return [shown.labels]
    if "best" in value and tiers[0][0] in shown.labels:
        return [tiers[0], [label for label in shown.labels if label not in tiers[0]]]
    named = sorted(name for tier in tiers for name in tier)
    return [tier for tier in tiers if tier] if named == sorted(shown.labels) else None


def _only_named(text: str, shown: Asked) -> Tiers | None:
    """In pairwise mode the choice of the only label in a text: mutations write no condemnation."""
    named = [name for name in shown.names if name in text.upper()]
    if not shown.tie or len(named) != 1:
        return None
    rest = [label for label in shown.labels if label not in named]
    return [shown.labels] if named == [shown.tie] else [named, rest]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _asked(body: dict[str, Any]) -> Asked:
    shown = json.loads(body["messages"][-1]["content"])
    answers = shown["answers"]
    tie = shown.get("both equally good", {}).get("label", "")
    return Asked([a["label"] for a in answers], tie, [a["answer"] for a in answers])


def plan(shown: Asked, rng: random.Random) -> Plan:
    """One reply of many kinds.

    Example: `plan(Asked(["K7R4", "M2Q9"], "", ["a", "b"]), random.Random(0)).send(wire)`.
    """
    kind = rng.choices((_good, _bad, _mutated, _wire_fault), (20, 40, 30, 10))[0]
    return kind(shown, rng)


def _order(shown: Asked, rng: random.Random) -> Tiers:
    names = list(shown.labels)
    rng.shuffle(names)
    tiers: Tiers = [[names[0]]]
    for name in names[1:]:
        if rng.random() < 0.25:
            tiers[-1].append(name)
        else:
            tiers.append([name])
    return tiers


def _good_text(shown: Asked, rng: random.Random) -> tuple[str, Tiers]:
    tiers = _order(shown, rng)
    if shown.tie:
        best = shown.tie if len(tiers) == 1 else tiers[0][0]
        forms = [
            json.dumps({"best": best}), f"```json\n{json.dumps({'best': best})}\n```",
            f"I say {json.dumps({'best': best})}.", f"{best}", f"**{best.lower()}**",
            f"The best is {best}.", json.dumps({"ranking": tiers}),
        ]  # fmt: skip
        return rng.choice(forms), tiers
    chain = " > ".join(" = ".join(tier) for tier in tiers)
    thought = json.dumps({"ranking": _order(shown, rng)})
    forms = [
        json.dumps({"ranking": tiers}), json.dumps({"ranking": tiers}, indent=2), json.dumps(tiers),
        f"Sure!\n```json\n{json.dumps({'ranking': tiers})}\n```\nBye", json.dumps(tiers).lower(),
        f"{thought} no, rather {json.dumps({'ranking': tiers})}",
    ]  # fmt: skip
    if len(shown.labels) > 1:
        forms += [f"So: {chain}", f"From best to worst:\n\n`{chain}`."]
    return rng.choice(forms), tiers


def _good(shown: Asked, rng: random.Random) -> Plan:
    text, tiers = _good_text(shown, rng)
    if rng.random() < 0.1:
        text = f"My key is {KEY}. {text}" if "{" in text else text
    if rng.random() < 0.2:
        return _packed(text, tiers, rng)
    return Plan(lambda wire: wire.say(text), tiers, text)


def _packed(text: str, tiers: Tiers, rng: random.Random) -> Plan:
    body = gzip.compress(_completion(text))
    return Plan(lambda wire: wire.send(200, body, Content_Encoding="gzip"), tiers, text)


def _completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


_CONDEMNING = (
    "{0} is wrong.", "The answer {0} is not right.", "Anything but {0}.", "{0} misses the point",
    "The other is better than {0}", '{{"worst": "{0}"}}', "Is {0} the best?", "{0} comes second.",
    "not ({0} > {1})", "It is false that {1} > {0}", "Worst first: {0} > {1} = {2}", "{0} < {1}",
    "{0}, {1}, {2}", "{0} and {1} are both fine", "The wrong order:\n{0} > {1} > {2}",
)  # fmt: skip


def _bad(shown: Asked, rng: random.Random) -> Plan:
    """A completion that states no order."""
    names = list(shown.labels)
    rng.shuffle(names)
    other, order = "Z9Z9", json.dumps({"ranking": names})
    deep = rng.choice(("[", "{", '{"ranking":', '[{"ranking":['))
    kinds: list[Callable[[], str]] = [
        lambda: "", lambda: " \n", lambda: "null", lambda: "NaN",
        lambda: order[: -3 - len(names[-1])],
        lambda: json.dumps({"ranking": [*names[:-1], other]}),
        lambda: json.dumps({"ranking": [*names, names[0]]}),
        lambda: json.dumps({"ranking": [*names, other]}), lambda: json.dumps({"order": names}),
        lambda: json.dumps({"ranking": dict.fromkeys(names, 1)}), lambda: json.dumps([[names]]),
        lambda: json.dumps({"ranking": [None, *names]}), lambda: json.dumps({"best": names}),
        lambda: json.dumps({"ranking": list(range(len(names)))}),
        lambda: f'{{"ranking": {json.dumps(names)}, "ranking": {json.dumps(names[::-1])}}}',
        lambda: f'{{"ranking": {json.dumps(names)}, "ranking": {json.dumps(names[::-1])}',
        lambda: f'{{"x": {{"ranking": {json.dumps(names)}, "y": 1, "y": 2}}}}',
        lambda: deep * (rng.choice((10, 1000, 100_000)) // len(deep)),
        lambda: '{"ranking": [%s]}' % ("9" * rng.choice((400, 4000, 5000))),
        lambda: '{"ranking": [1e999, Infinity, NaN, true]}',
        lambda: "x" * rng.choice((300, 300_000)),
        lambda: f"\ud800 {KEY} \udfff", lambda: "\x1b[2J\x00\x07\u202e" * rng.randrange(1, 99),
        lambda: "".join(chr(rng.randrange(32, 0x2FFF)) for _ in range(rng.randrange(1, 300))),
        lambda: rng.choice(_CONDEMNING).format(*(names + names)[:3]),
        lambda: rng.choice(_CONDEMNING).format(*(names + names)[:3]),
    ]  # fmt: skip
    text = rng.choice(kinds)()
    return Plan(lambda wire: wire.say(text), None, text)


def _mutated(shown: Asked, rng: random.Random) -> Plan:
    """A good JSON reply, changed at some places; it may still state an order."""
    tiers = _order(shown, rng)
    best = shown.tie if len(tiers) == 1 else tiers[0][0]
    value = {"best": best} if shown.tie and rng.random() < 0.7 else {"ranking": tiers}
    text = json.dumps(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice((1, 1, 2, 5)))
        new = rng.choice(
            ("", text[start:stop] * 2, rng.choice('[]{}",: \n\\'), chr(rng.randrange(1, 0x3000)),
             rng.choice(shown.names), f'"{rng.choice(shown.names)}"', "null", "-1")
        )  # fmt: skip
        text = text[:start] + new + text[stop:]
    return Plan(lambda wire: wire.say(text), tiers, text, changed=True)


def _wire_fault(shown: Asked, rng: random.Random) -> Plan:
    """No completion: a status, a body, headers or bytes that no honest server sends."""
    good = _completion(json.dumps({"ranking": shown.labels}))
    usage = rng.choice(("-1", "1e999", "true", "NaN", "9" * 4000, "[[[]]]", '"many"'))
    body = rng.choice(
        (b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"choices": []}', b'{"choices": {"0": 1}}',
         b'{"choices": [{"message": {"content": null}}]}', good[:-5], b"9" * 5000,
         b'{"choices": [{"message": []}], "usage": {"total_tokens": %s}}' % usage.encode())
    )  # fmt: skip
    junk = rng.randbytes(rng.randrange(1, 400))
    cheap: list[Callable[[Wire], None]] = [
        lambda wire: wire.send(200, body), lambda wire: wire.half(), lambda wire: wire.close(),
        lambda wire: wire.send(rng.choice((204, 301, 400, 401, 404, 422, 451, 500)),
                               f"key {KEY} \x1b[2J".encode()),
        lambda wire: wire.send(rng.choice((429, 503)), b"",
                               Retry_After=rng.choice(("nan", "inf", "-1", "9" * 5000, "never"))),
        lambda wire: wire.send(
            200, gzip.compress(gzip.compress(good)), Content_Encoding="gzip, gzip"
        ),
        lambda wire: wire.send(200, gzip.compress(good)[:-9], Content_Encoding="gzip"),
        lambda wire: wire.send(200, junk, Content_Encoding=rng.choice(("gzip", "br", "zstd", "x"))),
        lambda wire: wire.raw(junk), lambda wire: wire.raw(b"HTTP/1.1 200 OK\r\n" + junk),
        lambda wire: wire.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + junk),
        lambda wire: wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
        lambda wire: wire.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000),
    ]  # fmt: skip
    expensive: list[Callable[[Wire], None]] = [
        lambda wire: wire.trickle(2), lambda wire: wire.send(200, b"x" * 5_000_000),
        lambda wire: wire.send(200, gzip.compress(b" " * 30_000_000), Content_Encoding="gzip"),
        lambda wire: _slowly(wire, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60),
        lambda wire: _slowly(wire, b"HTTP/1.1 100 Continue\r\n\r\n" * 4),
        lambda wire: time.sleep(1.0),
    ]  # fmt: skip
    return Plan(rng.choice(expensive if rng.random() < 0.1 else cheap), None)


def _slowly(wire: Wire, data: bytes) -> None:
    for byte in data:
        wire.raw(bytes([byte]))
        time.sleep(0.03)


if __name__ == "__main__":
    amount, begin = int(sys.argv[1]), time.monotonic()
    with tempfile.TemporaryDirectory() as where:
        result = campaign(amount, int(sys.argv[2]), pathlib.Path(where))
    print(f"replies: {amount} in {time.monotonic() - begin:.0f} s: {dict(result)}")
    sys.exit(set(result) - {"used", "refused"} != set())
