"""Small groups, judges and replies for the tests of audits."""

import json
import pathlib
import runpy

from orl_jax.oracles import ORACLES, FunctionOracle, RankRequest
from orl_jax.oracles.audit.asking import Reply
from orl_jax.oracles.audit.audit import audit
from orl_jax.oracles.audit.sample import Case
from orl_jax.oracles.groups import to_row
from orl_jax.oracles.ranking import Ranking

ROOT = pathlib.Path(__file__).parents[3]


def reply(slots, ranks):
    """A reply whose ranks are of the slots; no ranks are an invalid one."""
    ranking = Ranking(tuple(ranks)) if ranks else Ranking.invalid("late: 3 s", len(slots))
    return Reply(tuple(slots), ranking, {})


def case(responses, truth=None, key="k", **more):
    request = RankRequest(key, "Which?", tuple(responses), **more)
    return Case(key, request, None if truth is None else Ranking(tuple(truth)))


def write_groups(path, count=40, size=5, order=None, types=("a", "b")):
    """Groups of answers of 1 to `size` words, their places mixed; the longest is the recorded best.

    `order` is from a group's number to the lengths.
    """
    rows = []
    for number in range(count):
        lengths = order(number) if order else [(2 * k + number) % size + 1 for k in range(size)]
        responses = tuple(" ".join([f"w{number}"] * n) for n in lengths)
        request = RankRequest(
            f"p{number}", "Which?", responses, task_type=types[number % len(types)]
        )
        rows.append(json.dumps(to_row(request, Ranking.from_scores(lengths))))
    path.write_text("\n".join(rows) + "\n")
    return path


def config(groups, **changes):
    """The demo's config for an audit; `oracle` and `served` are sections, the rest is `audit`."""
    found = runpy.run_path(str(ROOT / "configs/demo.py"))["get_config"]().unlock()
    found.oracle.update(changes.pop("oracle", {}))
    found.oracle.served.update(changes.pop("served", {}))
    found.audit.update({"groups": str(groups), "truth": "recorded", "bootstrap": 200} | changes)
    return found


def audited(judge, groups, workdir, monkeypatch, **changes):
    """Results of an audit of a judge: a function from a request, or an Oracle."""
    oracle = judge if hasattr(judge, "rank") else FunctionOracle(judge)
    monkeypatch.setitem(ORACLES, "judge", lambda section: oracle)
    return audit(config(groups, oracle={"name": "judge"}, **changes), str(workdir))


def mean(results, name):
    return results["measures"]["all"][name]["mean"]
