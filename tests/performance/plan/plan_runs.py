"""Plans tiny models on several meshes of 4 virtual devices and writes the results as JSON.

    python plan_runs.py OUT.json

`test_plan.py` runs it in its own process, as the number of devices is fixed when jax starts.
"""

import dataclasses
import json
import pathlib
import runpy
import sys

from orl_jax.models.params import flatten
from orl_jax.performance.plan import steps
from orl_jax.performance.plan.devices import Target, make_target
from orl_jax.performance.plan.measurement import measure
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes, Tokens, bytes_per_device

CONFIG = pathlib.Path(__file__).parents[3] / "configs" / "demo.py"
VOCABULARY = 90
RUNS = {
    "1x1x1": {},
    "2x1x1": {"mesh.data": 2},
    "1x2x2": {"mesh.fsdp": 2, "mesh.tensor": 2},
    "nf4": {"model.language.quantisation": "nf4", "model.language.quantisation_block": 4},
    "ppo": {"rl.algorithm": "ppo"},
}
COMPILED = {
    "1x1x1": ("encode", "decode"),
    "2x1x1": ("encode", "decode"),
    "1x2x2": ("decode",),
    "nf4": ("quantise",),
}


def describe(name, target):
    """The bytes that a run holds, and its compiled steps."""
    config = runpy.run_path(str(CONFIG))["get_config"]("tiny").unlock()
    config.mesh.data = 1
    config.model.language.kv_heads = 2
    config.update_from_flattened_dict(RUNS[name])
    sizes = config.mesh.data * config.mesh.fsdp * config.mesh.tensor
    data = config.data
    tokens = Tokens(VOCABULARY, data.prompt_tokens, data.response_tokens, 20)
    shapes = Shapes(config, tokens, target.devices[:sizes])
    resident = RunShapes(shapes)
    params = flatten(resident.frozen) | flatten(resident.state.trained)
    prefix, state = resident.begun
    return {
        "params": {path: bytes_per_device(leaf) for path, leaf in params.items()},
        "reference": bytes_per_device(resident.state.reference),
        "moments": bytes_per_device(resident.state.opt_state),
        "always": bytes_per_device(resident.always),
        "rows": bytes_per_device((resident.frames, resident.batch)),
        "caches": bytes_per_device((prefix.prompt, state.cache)),
        "names": steps.names(resident),
        "steps": {
            step: dataclasses.asdict(measure(steps.make(step, resident), target, shapes))
            for step in COMPILED.get(name, ())
        },
    }


def main(out):
    target: Target = make_target("cpu", 4, 10**9)
    assert len(target.devices) == 4
    results = {name: describe(name, target) for name in RUNS}
    pathlib.Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
