"""The tables: every parameter of every model is covered, and sharded as it should be."""

import re
import runpy
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from orl_jax.models.params import flatten
from orl_jax.models.sequences import Prompt
from orl_jax.models.sharding.mesh import AXES
from orl_jax.models.sharding.rules import TABLES, fitting, specification
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.run.errors import UserError

MESH = AbstractMesh((2, 2, 2), AXES)
CONFIG = Path(__file__).parents[3] / "configs" / "demo.py"


def shapes(adapter="qformer", quantisation="none"):
    """Parameters of the tiny model by path."""
    config = runpy.run_path(str(CONFIG))["get_config"]("tiny").unlock()
    config.model.adapter.name = adapter
    for part in ("vision", "adapter", "language"):
        config.model[part].update(quantisation=quantisation, quantisation_block=4)
    model = VlmSettings.from_config(config).build(vocabulary=18, image_id=5, lora=True)
    inputs = [((1, 3, 32, 32, 3), jnp.uint8), ((1, 2), jnp.int32), ((1, 2), bool)]
    frames, *prompt = (jax.ShapeDtypeStruct(*spec) for spec in inputs)
    init = partial(model.init, jax.random.key(0))
    return flatten(jax.eval_shape(init, frames, Prompt(*prompt))["params"])


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
@pytest.mark.parametrize("adapter", ["qformer", "pool"])
def test_every_parameter_is_covered(adapter, quantisation):
    for path, shape in shapes(adapter, quantisation).items():
        specification(path, shape.shape, MESH)
        specification(f"value/{path}", shape.shape, MESH)


def test_every_rule_covers_something():
    decoding = {f"language/layers/0/{name}/transposed" for name in ("q", "down")}
    paths = {*shapes(), *shapes("pool", "nf4"), "heads/reward/kernel", *decoding}
    for regex, _ in TABLES:
        assert any(re.fullmatch(regex, path) for path in paths), regex


def test_an_uncovered_parameter_is_named():
    with pytest.raises(UserError, match="covers the parameter language/layers/q/other"):
        specification("language/layers/q/other", (2, 2), MESH)


@pytest.mark.parametrize(
    ("path", "shape", "axes"),
    [
        ("language/layers/q/kernel", (3, 8, 4), (None, "fsdp", "tensor")),
        ("language/layers/q/codes", (3, 8, 4), (None, "fsdp", "tensor")),
        ("language/layers/q/scales", (3, 1, 4), (None, None, "tensor")),
        ("language/layers/down/kernel", (3, 8, 4), (None, "tensor", "fsdp")),
        ("language/layers/2/q/transposed", (4, 8), ("tensor", "fsdp")),
        ("language/layers/2/down/transposed", (4, 8), ("fsdp", "tensor")),
        ("language/layers/down/lora_a", (3, 8, 4), (None, ("tensor", "fsdp"), None)),
        ("language/layers/down/lora_b", (3, 8, 4), (None, None, "fsdp")),
        ("language/embedding", (17, 8), (None, ("fsdp", "tensor"))),
        ("language/norm/scale", (8,), (None,)),
        ("value/head/kernel", (8,), (None,)),
    ],
)
def test_places(path, shape, axes):
    assert specification(path, shape, MESH) == PartitionSpec(*axes)


def test_dimensions_that_do_not_divide_stay_whole():
    assert fitting(("fsdp", ("data", "tensor"), None), (6, 8, 5), MESH.shape) == (
        "fsdp", ("data", "tensor"), None,
    )  # fmt: skip
    assert fitting(("fsdp", ("data", "tensor")), (5, 6), MESH.shape) == (None, None)


def test_no_large_parameter_stays_whole_where_all_axes_shard():
    small = ("norm", "bias", "class_embedding", "position_embedding", "queries", "time_embedding")
    for path, shape in shapes(quantisation="nf4").items():
        spec = specification(path, shape.shape, MESH)
        assert any(spec) or any(word in path for word in small), path
