"""What audits said against what training gained: numbers by hand, a picture, clear errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orl_jax.oracles.audit.gains import gain_table, read_point
from orl_jax.run.errors import UserError

ROOT = Path(__file__).parents[3]


def write(path, value):
    path.write_text(json.dumps(value))
    return str(path)


def audit_of(tau, pairs=0.75):
    tau = {"mean": tau, "low": 0.25, "high": 0.75, "n": 9}
    return {"measures": {"all": {"tau": tau, "pair_accuracy": {"mean": pairs}}}}


def test_a_point_by_hand(tmp_path):
    audit = write(tmp_path / "audit.json", audit_of(0.5))
    results = write(tmp_path / "results.json", {"accuracy": 0.7})
    point = read_point("judge", audit, results, start=0.55)
    assert point.tau == (0.5, 0.25, 0.75) and point.pairs == 0.75
    assert point.gain == pytest.approx(15)
    better = point._replace(name="rule", tau=(1.0, 1.0, 1.0), gain=18.0, accuracy=0.73)
    assert gain_table([point, better]).splitlines()[2:] == [
        "| rule   | 1.00 [1.00, 1.00] |        0.75 |     73.0 | +18.0 |",
        "| judge  | 0.50 [0.25, 0.75] |        0.75 |     70.0 | +15.0 |",
    ]


@pytest.mark.parametrize(
    "audit, evaluation, message",
    [
        (audit_of(None), {"accuracy": 0.5}, "no tau"),
        ({"measures": {}}, {"accuracy": 0.5}, "no measures.all"),
        (audit_of(0.5), {"n": 3}, "no accuracy"),
        (audit_of(0.5), {"accuracy": "high"}, "no number"),
    ],
)
def test_files_without_the_numbers_are_named(tmp_path, audit, evaluation, message):
    paths = write(tmp_path / "audit.json", audit), write(tmp_path / "results.json", evaluation)
    with pytest.raises(UserError, match=message):
        read_point("judge", *paths, start=0.5)


def test_the_script(tmp_path):
    audit, results = tmp_path / "audit.json", tmp_path / "results.json"
    write(audit, audit_of(0.5)), write(results, {"accuracy": 0.7})
    command = [sys.executable, ROOT / "scripts" / "audit_gains.py", f"--start={results}"]
    picture = tmp_path / "gains.png"
    flags = [f"--oracle=judge,{audit},{results}", f"--output={picture}"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "| judge  | 0.50" in done.stdout and picture.read_bytes()[1:4] == b"PNG"
    done = subprocess.run([*command, "--oracle=judge"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "NAME,AUDIT,EVALUATION" in done.stderr
