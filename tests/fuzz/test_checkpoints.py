"""A small campaign of mutated checkpoints; tests/fuzz/run.py runs it in full."""

from fuzz import checkpoints


def test_mutated_checkpoints_are_refused_in_one_line_or_read_as_they_were(tmp_path, capfd):
    found = checkpoints.campaign(40, seed=1, folder=tmp_path)
    assert set(found) <= set(checkpoints.GOOD), capfd.readouterr().err
    assert min(found[outcome] for outcome in checkpoints.GOOD) > 0
