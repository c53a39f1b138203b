"""A program for 4 virtual devices: the same five RL steps on several meshes, to one file.

    python mesh_runs.py CONFIG.json WORKDIR OUT.npz DATAxFSDPxTENSOR ...

`test_meshes.py` runs it, as the number of virtual devices is fixed when jax starts.
"""

import math
import os
import pathlib
import sys

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

import jax
import numpy as np

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.source import open_split
from orl_jax.models import assembly as assemblies
from orl_jax.models.params import flatten
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.sharding.mesh import AXES, make_mesh
from orl_jax.oracles import make_oracle
from orl_jax.rl import stage as rl
from orl_jax.rl.asking import Asker
from orl_jax.run import config as configs
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.metrics import MetricsWriter

STEPS = 5


def make_learner(config, workdir, name):
    """The learner of a mesh, and its batches."""
    sizes = dict(zip(AXES, map(int, name.split("x")), strict=True))
    devices = math.prod(sizes.values())
    mesh = make_mesh(sizes, jax.devices()[:devices])
    assembly = assemblies.assemble(config, lora=True)._replace(layout=Layout(mesh))
    base = pathlib.Path(workdir) / "checkpoints" / "sft"
    pretrained = assemblies.load_params(base, assembly.layout)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    items = open_split(config.data.folder, "train")
    asker = Asker(make_oracle(config.oracle.to_dict()))
    learner = rl.make_learner(config, assembly, params, asker, workdir, len(items))
    assert len(jax.tree.leaves(params)[0].sharding.device_set) == devices
    return learner, rl.make_loader(config, assembly, items, FrameCache(16))


def run(config, workdir, name, out):
    """Five steps: the loss and gradient norm of each, and the parameters after them."""
    learner, batches = make_learner(config, workdir, name)
    state = learner.start()
    with MetricsWriter(f"{workdir}/{name}", "rl") as metrics:
        for step in range(STEPS):
            state, values = learner.rl_step(state, next(batches), metrics)
            for key in ("loss", "kl", "grad_norm", "entropy", "sampler/logprob_gap_max"):
                out[f"{name}:{step}:{key}"] = np.asarray(values[key])
            if step == 0:  # Adam's first moment is a tenth of the clipped gradient
                moment = state.opt_state[1][0].mu
                out.update(
                    {f"{name}:gradient:{k}": np.asarray(v) for k, v in flatten(moment).items()}
                )
    batches.close()
    out.update({f"{name}:trained:{k}": v for k, v in flatten(state.trained).items()})
    with Checkpoints(f"{workdir}/{name}", "rl") as checkpoints:
        checkpoints.save(STEPS, state.saved(), {"base": ""})
    return state


def main(config_path, workdir, file, *names):
    config = configs.from_json(pathlib.Path(config_path).read_text())
    out, states = {}, {}
    for name in names:
        states[name] = run(config, workdir, name, out)
    for saved in names:
        for name, state in states.items():
            with Checkpoints(f"{workdir}/{saved}", "rl") as checkpoints:
                restored, _ = checkpoints.restore(like=state.saved())
            theirs = jax.tree.map(np.asarray, states[saved].saved())
            same = jax.tree.map(
                lambda a, b, c: np.array_equal(np.asarray(a), b) and a.sharding == c.sharding,
                restored, theirs, state.saved(),
            )  # fmt: skip
            out[f"{saved}->{name}"] = np.asarray(all(jax.tree.leaves(same)))
    np.savez(file, **{key: np.asarray(value) for key, value in out.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
