"""The same RL steps on several meshes of 4 virtual devices, against one device."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from orl_jax.run import config as configs

pytestmark = pytest.mark.heavy

ONE = "1x1x1"
MESHES = ("4x1x1", "1x4x1", "1x1x4", "2x2x1", "2x1x2")  # data x fsdp x tensor
PROGRAM = pathlib.Path(__file__).with_name("mesh_runs.py")


@pytest.fixture(scope="module")
def results(run, tmp_path_factory):
    """What `mesh_runs.py` leaves. The base is quantised, and there are two micro-batches a step."""
    config, workdir = run
    settings = config.copy_and_resolve_references().unlock()
    settings.rl.update(batch_size=8, micro_batch=4, rollouts_every=100)
    settings.model.language.update(quantisation="nf4", quantisation_block=4)
    folder = tmp_path_factory.mktemp("meshes")
    (folder / "config.json").write_text(configs.to_json(settings.lock()))
    command = [sys.executable, PROGRAM, folder / "config.json", workdir, folder / "out.npz"]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    subprocess.run([*command, ONE, *MESHES], check=True, env=environment, timeout=900)
    with np.load(folder / "out.npz") as file:
        return dict(file)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("kind", ["loss", "kl", "entropy", "grad_norm", "gradient", "trained"])
def test_is_what_one_device_does(results, mesh, kind):
    ours = {k: v for k, v in results.items() if k.startswith(f"{mesh}:") and kind in k.split(":")}
    assert ours
    for name, value in ours.items():
        expected = results[name.replace(mesh, ONE, 1)]
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("mesh", MESHES)
def test_rollout_and_update_agree_about_the_log_probabilities(results, mesh):
    for name, value in results.items():
        if name.startswith(f"{mesh}:") and name.endswith("logprob_gap_max"):
            assert value < 1e-5, name


def test_there_was_something_to_compare(results):
    gradients = [value for name, value in results.items() if name.startswith(f"{ONE}:gradient:")]
    assert sum(np.abs(value).max() > 1e-4 for value in gradients) >= 7
    start = [value for name, value in results.items() if name.endswith("lora_b") and ONE in name]
    assert all(np.abs(value).max() > 1e-4 for value in start)


@pytest.mark.parametrize("reader", [ONE, *MESHES])
@pytest.mark.parametrize("writer", [ONE, *MESHES])
def test_a_checkpoint_of_one_mesh_is_read_exactly_on_another(results, writer, reader):
    assert results[f"{writer}->{reader}"]
