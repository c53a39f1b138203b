import gc
import os
import pathlib
import shutil
import subprocess
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from orl_jax.run.checkpoint import Checkpoints, Location, locate
from orl_jax.run.checkpoint.damage import readable
from orl_jax.run.errors import UserError


def some_state() -> dict[str, Any]:
    """A tree with leaves of the types that a run saves."""
    params = {
        "w": jnp.linspace(-1, 1, 6).reshape(2, 3),
        "half": jnp.arange(5.0, dtype=jnp.bfloat16),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return {
        "params": params,
        "optimizer": optimizer.init(params),
        "codes": jnp.arange(256, dtype=jnp.uint8),
        "key": jax.random.key_data(jax.random.key(7)),
        "host": np.arange(3),
        "step": 7,
    }


def same(a: Any, b: Any) -> bool:
    """Checks for the same containers, types, shapes and bits."""

    def equal(x: Any, y: Any) -> bool:
        x, y = np.asarray(x), np.asarray(y)
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()

    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        map(equal, jax.tree.leaves(a), jax.tree.leaves(b))
    )


@pytest.fixture
def saved(tmp_path: pathlib.Path) -> pathlib.Path:
    """A workdir with one checkpoint of stage "rl", step 4."""
    with Checkpoints(str(tmp_path), "rl") as checkpoints:
        checkpoints.save(4, some_state(), {"config": {"a": [1, 2.5, None]}, "position": 12})
    return tmp_path


def test_a_state_is_restored_bit_for_bit_with_its_containers(saved: pathlib.Path) -> None:
    state = some_state()
    with Checkpoints(str(saved), "rl") as checkpoints:
        restored, extra = checkpoints.restore(like=state)
    assert same(restored, state)
    assert type(restored["optimizer"][1][0]).__name__ == "ScaleByAdamState"
    assert isinstance(restored["params"]["w"], jax.Array)
    assert isinstance(restored["host"], np.ndarray) and restored["step"] == 7
    assert extra == {"config": {"a": [1, 2.5, None]}, "position": 12}


def test_abstract_arrays_can_serve_as_likeness(saved: pathlib.Path) -> None:
    state = some_state()
    abstract = jax.eval_shape(lambda: state)
    with Checkpoints(str(saved), "rl") as checkpoints:
        restored, _ = checkpoints.restore(like=abstract)
    assert same(restored["optimizer"], state["optimizer"])


def test_a_single_part_can_be_restored(saved: pathlib.Path) -> None:
    with Checkpoints(str(saved), "rl") as checkpoints:
        part = checkpoints.restore_part("params")
        with pytest.raises(UserError, match="holds no 'nope'; it has codes, host, key, optimizer"):
            checkpoints.restore_part("nope")
    assert same(part, jax.tree.map(np.asarray, some_state()["params"]))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(part))


def test_without_likeness_dicts_of_host_arrays_are_restored(saved: pathlib.Path) -> None:
    with Checkpoints(str(saved), "rl") as checkpoints:
        restored, _ = checkpoints.restore()
    assert same(restored["params"], some_state()["params"])
    assert same(restored["codes"], some_state()["codes"])
    assert isinstance(restored["params"]["w"], np.ndarray)
    assert restored["step"] == 7 and isinstance(restored["step"], int)


def test_a_save_is_a_snapshot_of_the_state(tmp_path: pathlib.Path) -> None:
    """Even if the next step donates its buffers or writes to host arrays."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x, host = jnp.zeros(100_000), np.zeros(100_000)
    with Checkpoints(str(tmp_path), "rl") as checkpoints:
        checkpoints.save(1, {"x": x, "host": host}, {})
        x = add(x)
        host += 1
        checkpoints.wait()
        restored, _ = checkpoints.restore()
    assert not restored["x"].any() and not restored["host"].any()


def test_only_the_newest_are_kept(tmp_path: pathlib.Path) -> None:
    with Checkpoints(str(tmp_path), "sft", keep=2) as checkpoints:
        assert checkpoints.latest_step() is None
        for step in (1, 5, 10):
            checkpoints.save(step, {"x": jnp.full(2, step)}, {"step": step})
        checkpoints.wait()
        assert checkpoints.latest_step() == 10
        assert checkpoints.restore_extra() == {"step": 10}
        assert checkpoints.restore(5)[0]["x"].tolist() == [5, 5]
    assert sorted(f.name for f in (tmp_path / "checkpoints/sft").iterdir()) == ["10", "5"]


def test_a_step_is_saved_once(tmp_path: pathlib.Path) -> None:
    """A loop may save at its last step and once more as it ends."""
    with Checkpoints(str(tmp_path), "sft") as checkpoints:
        checkpoints.save(1, {"x": jnp.zeros(1)}, {"first": True})
        checkpoints.save(1, {"x": jnp.ones(1)}, {"first": False})
        assert checkpoints.restore_extra() == {"first": True}


def test_an_interrupted_save_leaves_no_checkpoint(saved: pathlib.Path) -> None:
    folder = saved / "checkpoints/rl"
    shutil.copytree(folder / "4", folder / "9.orbax-checkpoint-tmp")
    with Checkpoints(str(saved), "rl") as checkpoints:
        assert checkpoints.latest_step() == 4
        checkpoints.save(9, {"x": jnp.zeros(1)}, {})
        checkpoints.wait()
        assert checkpoints.latest_step() == 9
    assert locate(str(folder)).step == 9


def test_extra_that_is_not_json_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    with Checkpoints(str(tmp_path), "rl") as checkpoints, pytest.raises(TypeError, match="JSON"):
        checkpoints.save(1, {}, {"position": np.int64(3)})


def test_reading_creates_no_folder(tmp_path: pathlib.Path) -> None:
    with Checkpoints(str(tmp_path), "rl") as checkpoints:
        assert checkpoints.latest_step() is None
        with pytest.raises(UserError, match="there is no checkpoint in .*rl; run the stage"):
            checkpoints.restore()
    assert not list(tmp_path.iterdir())


def test_the_refusal_of_a_missing_step_lists_the_existing_ones(saved: pathlib.Path) -> None:
    with Checkpoints(str(saved), "rl") as checkpoints:
        with pytest.raises(UserError, match="no checkpoint of step 5 in .*; it has 4"):
            checkpoints.restore(5)
        with pytest.raises(UserError, match="no checkpoint of step 5 in .*; it has 4"):
            checkpoints.restore_extra(5)


def _truncate(step: pathlib.Path) -> None:
    for file in step.glob("state/d/*"):
        file.write_bytes(file.read_bytes()[:10])


DAMAGE = {
    "no state": lambda step: shutil.rmtree(step / "state"),
    "no extra": lambda step: shutil.rmtree(step / "extra"),
    "empty": lambda step: [shutil.rmtree(step), step.mkdir()],
    "manifest": lambda step: (step / "state/manifest.ocdbt").write_bytes(b"nonsense"),
    "truncated": _truncate,
    "extra": lambda step: (step / "extra/metadata").write_text("{"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("like", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_one_clear_line(
    saved: pathlib.Path, damage: str, like: bool
) -> None:
    DAMAGE[damage](saved / "checkpoints/rl/4")
    with Checkpoints(str(saved), "rl") as checkpoints, pytest.raises(UserError) as caught:
        checkpoints.restore(like=some_state() if like else None)
    text = str(caught.value)
    assert text.startswith(f"the checkpoint {saved}/checkpoints/rl/4 ") and "\n" not in text
    assert "delete the folder" in text and len(text) < 700


def test_a_failure_leaves_no_pending_read(tmp_path: pathlib.Path) -> None:
    async def read() -> None: ...

    def fail() -> None:
        pending = read()
        raise ValueError(f"no {type(pending).__name__}")

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(UserError, match="no coroutine"), readable(tmp_path, "is damaged"):
            fail()
        gc.collect()
    assert not seen


def test_a_damaged_extra_is_one_clear_line(saved: pathlib.Path) -> None:
    DAMAGE["extra"](saved / "checkpoints/rl/4")
    with Checkpoints(str(saved), "rl") as checkpoints:
        with pytest.raises(UserError, match="is damaged"):
            checkpoints.restore_extra()


@pytest.mark.parametrize(
    "change",
    [
        {"key": jnp.zeros(3, jnp.uint32)},
        {"params": {"w": jnp.zeros((2, 3))}},
        {"more": jnp.zeros(1)},
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    saved: pathlib.Path, change: dict[str, Any]
) -> None:
    with Checkpoints(str(saved), "rl") as checkpoints:
        with pytest.raises(UserError, match="does not fit this configuration"):
            checkpoints.restore(like=some_state() | change)


SCRIPT = """
import sys
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import UserError

with Checkpoints(sys.argv[1], "rl") as checkpoints:
    if sys.argv[2] == "save":
        shards = NamedSharding(jax.make_mesh((4,), ("data",)), PartitionSpec("data"))
        checkpoints.save(1, {"x": jax.device_put(jnp.arange(8), shards)}, {})
    else:
        try:
            print(checkpoints.restore()[0]["x"].tolist())
            x = checkpoints.restore(like={"x": jax.ShapeDtypeStruct((8,), jnp.int32)})[0]["x"]
            print(x.tolist(), len(x.devices()))
        except UserError as error:
            print("refused")
"""


def _in_a_process(workdir: pathlib.Path, do: str, devices: int) -> tuple[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(workdir), do],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_checkpoint_of_four_devices_is_read_silently_on_one(tmp_path: pathlib.Path) -> None:
    assert _in_a_process(tmp_path, "save", devices=4) == ("", "")
    numbers = "[0, 1, 2, 3, 4, 5, 6, 7]"
    assert _in_a_process(tmp_path, "read", devices=1) == (f"{numbers}\n{numbers} 1\n", "")


def test_a_damaged_checkpoint_prints_nothing_else(saved: pathlib.Path) -> None:
    _truncate(saved / "checkpoints/rl/4")
    assert _in_a_process(saved, "read", devices=1) == ("refused\n", "")


def test_locate(saved: pathlib.Path) -> None:
    with Checkpoints(str(saved), "rl") as checkpoints:
        checkpoints.save(12, {"x": jnp.zeros(1)}, {})
    stage = saved / "checkpoints/rl"
    assert locate(str(stage)) == Location(str(saved), "rl", 12)
    assert locate(f"{stage}/4/") == Location(str(saved), "rl", 4)
    assert locate(str(stage)).path == stage / "12"


def test_locate_takes_a_relative_path(saved: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved / "checkpoints")
    assert locate("rl") == locate("rl/4") == Location(str(saved), "rl", 4)


def test_locate_refuses_other_folders(saved: pathlib.Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint .*nowhere; name a folder"):
        locate(str(saved / "nowhere"))
    for missing in ("imported", "imported/3"):
        with pytest.raises(UserError, match="or first run scripts/import_weights.py"):
            locate(str(saved / "checkpoints" / missing))
    with pytest.raises(UserError, match="; the steps there are 4$"):
        locate(str(saved / "checkpoints/rl/5"))
    with pytest.raises(UserError, match=r"is not a checkpoint \(it holds checkpoints\)"):
        locate(str(saved))
    (saved / "checkpoints/sft").mkdir()
    with pytest.raises(UserError, match=r"is not a checkpoint \(it holds nothing\)"):
        locate(str(saved / "checkpoints/sft"))
