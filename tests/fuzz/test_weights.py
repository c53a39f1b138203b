"""Mutated folders of weights, in small; `python tests/fuzz/run.py weights` runs it in full."""

from fuzz import weights


def test_mutated_folders_are_imported_whole_or_refused_in_one_line(tmp_path, capfd):
    found = weights.campaign(16, seed=1, folder=tmp_path)
    assert set(found) <= set(weights.GOOD), capfd.readouterr().err
    assert min(found[outcome] for outcome in weights.GOOD) > 0
