"""What keeps checkpoints whole: sums, pins, and full disks that spoil none."""

import contextlib
import os
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.models.assembly import load_params
from orl_jax.run.checkpoint import Checkpoints, locate, sums
from orl_jax.run.checkpoint.location import METADATA
from orl_jax.run.checkpoint.pins import pin
from orl_jax.run.errors import Failure, UserError


def state(value: float = 0.0) -> dict:
    """Of 40 kB that do not compress."""
    return {"trained": {"w": jax.random.normal(jax.random.key(0), (100, 100)) + value}}


def saved(workdir: pathlib.Path, *steps: int, keep: int | None = None) -> pathlib.Path:
    """The folder of the last of some checkpoints."""
    with Checkpoints(str(workdir), "sft", keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, state(step), {"config": {}})
            checkpoints.wait()
    return checkpoints.folder / str(steps[-1])


def steps(folder: pathlib.Path) -> list[str]:
    return sorted(each.name for each in folder.parent.iterdir() if each.name.isdigit())


@contextlib.contextmanager
def full_disk(size: int):
    """Files may grow to `size` bytes, as on a disk with no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_changed_bit_is_named_before_anything_is_read(tmp_path: pathlib.Path) -> None:
    folder = saved(tmp_path, 1)
    assert sums.difference(folder) == ""
    largest = max((folder / "state").rglob("*"), key=lambda file: file.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    name = largest.relative_to(folder)
    with Checkpoints(str(tmp_path), "sft") as checkpoints:
        for read in (checkpoints.restore, lambda: checkpoints.restore_part("trained")):
            with pytest.raises(UserError, match=f"damaged: {name} has changed"):
                read()
        assert checkpoints.restore_extra() == {"config": {}}  # its own part is whole
        (folder / "extra" / "metadata").write_text('{"config": {"seed": 1}}')
        with pytest.raises(UserError, match="extra/metadata has changed"):
            checkpoints.restore_extra()


@pytest.mark.parametrize("name", ["state/manifest.ocdbt", "extra/metadata", METADATA])
def test_a_pipe_in_place_of_a_file_is_named(tmp_path: pathlib.Path, name: str) -> None:
    folder = saved(tmp_path, 1)
    (folder / name).unlink()
    os.mkfifo(folder / name)  # reading it would take for ever
    with Checkpoints(str(tmp_path), "sft") as checkpoints:
        with pytest.raises(UserError, match=f"{folder} is damaged: {name} is no file"):
            checkpoints.restore_part("trained")


def test_an_earlier_version_s_checkpoint_has_no_sums(tmp_path: pathlib.Path) -> None:
    folder = saved(tmp_path, 1)
    (folder / sums.FILE).unlink()
    with Checkpoints(str(tmp_path), "sft") as checkpoints:
        found = checkpoints.restore()[0]
    np.testing.assert_array_equal(found["trained"]["w"], state(1)["trained"]["w"])
    assert sums.digest(folder) == ""


def test_a_base_outlives_newer_checkpoints(tmp_path: pathlib.Path) -> None:
    base = saved(tmp_path, 2, 4, keep=2)
    pin(base, tmp_path, "rl")
    pin(base, tmp_path, "rl")
    assert steps(saved(tmp_path, 6, 8, 10, keep=2)) == ["10", "4", "8"]
    assert (base / "pinned.json").read_text().count("rl") == 1
    (base / "pinned.json").unlink()
    assert steps(saved(tmp_path, 12, keep=2)) == ["10", "12"]


@pytest.mark.parametrize("content", [None, "[" * 100_000, "[1]", '{"state/x": 1}', '"é"'])
def test_damaged_sums_and_pins_neither_hang_nor_count(
    tmp_path: pathlib.Path, content: str | None
) -> None:
    base = saved(tmp_path, 2, keep=2)
    for file in (base / sums.FILE, base / "pinned.json"):
        file.unlink(missing_ok=True)
        file.write_text(content, "latin-1") if content else os.mkfifo(file)
    assert sums.difference(base) == f"{sums.FILE} has changed"
    pin(base, tmp_path, "rl")
    assert (base / "pinned.json").is_file()
    assert steps(saved(tmp_path, 4, 6, 8, keep=2)) == ["2", "6", "8"]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_full_disk_is_one_line_and_spoils_nothing(tmp_path: pathlib.Path, keep: int) -> None:
    folder = saved(tmp_path, 1, keep=keep)
    with pytest.raises(Failure, match="newest intact one is of step 1.*same command resumes"):
        with full_disk(4000), Checkpoints(str(tmp_path), "sft", keep) as checkpoints:
            checkpoints.save(2, state(2), {"config": {}})
            checkpoints.save(3, state(3), {"config": {}})
    assert steps(folder) == ["1"]
    with Checkpoints(str(tmp_path), "sft", keep) as checkpoints:
        checkpoints.drop_unfinished()
        assert jnp.array_equal(checkpoints.restore()[0]["trained"]["w"], state(1)["trained"]["w"])
        checkpoints.save(2, state(2), {"config": {}})
    assert [each.name for each in folder.parent.iterdir()].count("2") == 1
    assert not list(folder.parent.glob("*tmp*"))


def test_what_builds_on_a_missing_or_another_base_names_it(tmp_path: pathlib.Path) -> None:
    base = saved(tmp_path, 2, 4).parent / "2"
    extra = {"config": {}, "base": "checkpoints/sft/2", "base_identity": locate(str(base)).identity}
    with Checkpoints(str(tmp_path), "rl") as checkpoints:
        checkpoints.save(1, {"trained": {"a": np.ones(2)}}, extra)
    rl = str(checkpoints.folder)
    assert set(load_params(rl)) == {"a", "w"}
    base.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=rf"on top of {base}, which is missing \(steps there: 4\)"):
        load_params(rl)
    saved(tmp_path, 2)
    with pytest.raises(UserError, match=f"on top of {base}, and another checkpoint is there now"):
        load_params(rl)
    shutil.rmtree(base)
    (tmp_path / "moved").rename(base)
    assert set(load_params(rl)) == {"a", "w"}
