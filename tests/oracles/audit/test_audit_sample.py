"""Which groups are asked about, and who is right about them."""

import json

import pytest
from audit_cases import config, write_groups

from orl_jax.oracles.audit.sample import draw_sample, stratified
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.groups import read_groups
from orl_jax.run.errors import UserError


def sample(groups, **changes):
    return draw_sample(AuditSettings.of(config(groups, **changes).audit.to_dict()), "")


@pytest.fixture
def groups(tmp_path):
    return write_groups(tmp_path / "groups.jsonl", 40, types=("a", "a", "a", "b"))


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, lines):
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_each_task_type_keeps_its_share(groups):
    found = read_groups(groups)
    chosen = stratified(found, 8, seed=0)
    assert [g.request.task_type for g in chosen].count("b") == 2
    assert chosen == stratified(found, 8, seed=0) != stratified(found, 8, seed=1)
    assert [found.index(g) for g in chosen] == sorted(found.index(g) for g in chosen)
    assert stratified(found, 0, seed=0) == stratified(found, 99, seed=0) == found


def test_what_has_nothing_to_rank_is_left_out(groups, tmp_path):
    lines = rows(groups)[:3]
    lines[1]["responses"] = ["same"] * 5
    found = sample(write(tmp_path / "some.jsonl", [*lines, lines[0]]))
    assert (len(found.cases), found.found, found.same) == (2, 4, 2)


def test_several_files(groups, tmp_path):
    for number in (1, 2):
        write(tmp_path / f"part{number}.jsonl", rows(groups)[number : number + 2])
    assert len(sample(f"{tmp_path}/part1.jsonl,{tmp_path}/part2.jsonl").cases) == 3
    assert len(sample(tmp_path / "part*.jsonl").cases) == 3


def test_the_rule_is_the_truth(groups, tmp_path):
    lines = rows(groups)[:2]
    lines[0]["reference"] = lines[0]["responses"][3]
    found = sample(write(tmp_path / "some.jsonl", lines), truth="reference")
    assert found.cases[0].truth.ranks == (2.5, 2.5, 2.5, 0, 2.5)
    assert found.cases[1].truth is None
    assert found.no_truth == {"the request has no reference answer": 1}


def test_another_file_is_the_truth_whatever_the_order_of_its_answers(groups, tmp_path):
    lines = rows(groups)
    for line in lines:
        for key in ("responses", "oracle_ranks", "oracle_scores"):
            line[key] = line[key][::-1]
    lines[0] |= {"valid": False, "reason": "late", "oracle_scores": []}
    lines[1]["responses"][0] = "an answer that was not asked about"
    truth = write(tmp_path / "people.jsonl", lines[::-1])
    found, own = (sample(groups, truth=t) for t in (str(truth), "recorded"))
    assert found.no_truth == {"late": 1, "no order of it is known": 1}
    pairs = list(zip(found.cases, own.cases, strict=True))[2:]
    assert all(a.truth.ranks == b.truth.ranks for a, b in pairs)


def test_no_truth_is_wanted(groups):
    found = sample(groups, truth="none")
    assert all(case.truth is None for case in found.cases) and len(found.cases) == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ""}, "audit.groups is empty.*--config.audit.groups=runs"),
        ({"groups": "missing.jsonl"}, "no groups of answers in missing.jsonl"),
        ({"truth": "people"}, "audit.truth is 'people'; choose one of reference, recorded, none"),
        ({"truth": "reference"}, "orders none of 40 groups .the request has no reference answer"),
    ],
)
def test_refusals(groups, changes, message):
    section = {"groups": str(groups)} | changes
    with pytest.raises(UserError, match=message) as caught:
        sample(section.pop("groups"), **section)
    assert "\n" not in str(caught.value)


def test_a_file_with_nothing_to_rank_is_refused(groups, tmp_path):
    lines = [row | {"responses": ["same"] * 5} for row in rows(groups)]
    with pytest.raises(UserError, match="40 groups.*nothing to rank; take other groups"):
        sample(write(tmp_path / "same.jsonl", lines))
