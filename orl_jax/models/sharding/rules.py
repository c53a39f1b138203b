"""Which axis of which parameter is sharded over which axes of the mesh.

A table per model: (regex of the whole path, axes of the parameter's *last* dimensions). Leading
dimensions, such as that of stacked layers, are never sharded. The first match counts; a parameter
that no rule covers is an error that names it. Dimensions that the mesh does not divide stay whole.

As in Megatron (arXiv 1909.08053), kernels into heads and the MLP's inner width are split by
columns, those back to the residual stream by rows. Adapters follow their kernels; norms are whole.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from orl_jax.models.sharding.mesh import CUT
from orl_jax.run.errors import UserError

Axes = tuple[str | tuple[str, ...] | None, ...]
Table = Sequence[tuple[str, Axes]]

_KERNEL = "(kernel|codes|scales)"
_WHOLE: Axes = ()

VISION: Table = (
    (rf"vision/layers/(attention/[qkv]|up)/{_KERNEL}", ("fsdp", "tensor")),
    (r"vision/layers/(attention/[qkv]|up)/bias", ("tensor",)),
    (rf"vision/layers/(attention/out|down)/{_KERNEL}", ("tensor", "fsdp")),
    (r"vision/layers/(attention/out|down)/bias", _WHOLE),
    (r"vision/(layers/(attention|mlp)|pre)_norm/(scale|bias)", _WHOLE),
    (r"vision/patch_embedding/kernel", (None, CUT)),
    (r"vision/(class|position)_embedding", _WHOLE),
)
ADAPTER: Table = (
    (rf"adapter/qformer/layers/(.+_attention/[qkv]|up_\d+)/{_KERNEL}", ("fsdp", "tensor")),
    (r"adapter/qformer/layers/(.+_attention/[qkv]|up_\d+)/bias", ("tensor",)),
    (rf"adapter/qformer/layers/(.+_attention/out|down_\d+)/{_KERNEL}", ("tensor", "fsdp")),
    (r"adapter/qformer/layers/(.+_attention/out|down_\d+)/bias", _WHOLE),
    (rf"adapter/project_in/{_KERNEL}", ("fsdp", "tensor")),
    (r"adapter/project_in/bias", ("tensor",)),
    (rf"adapter/project_out/{_KERNEL}", ("tensor", "fsdp")),
    (r"adapter/project_out/bias", _WHOLE),
    (r"adapter/(.+_)?norm(_\d+)?/(scale|bias)", _WHOLE),
    (r"adapter/qformer/(layers/)?(.+_)?norm(_\d+)?/(scale|bias)", _WHOLE),
    (r"adapter/(qformer/queries|time_embedding)", _WHOLE),
)
_LAYER = r"language/layers(/\d+)?"  # stacked, or split (`orl_jax.models.layers`)
LANGUAGE: Table = (
    (rf"{_LAYER}/(q|k|v|gate|up)/{_KERNEL}", ("fsdp", "tensor")),
    (rf"{_LAYER}/(q|k|v|gate|up)/transposed", ("tensor", "fsdp")),
    (rf"{_LAYER}/(q|k|v|gate|up)/lora_a", ("fsdp", None)),
    (rf"{_LAYER}/(q|k|v|gate|up)/lora_b", (None, ("tensor", "fsdp"))),
    (rf"{_LAYER}/(o|down)/{_KERNEL}", ("tensor", "fsdp")),
    (rf"{_LAYER}/(o|down)/transposed", ("fsdp", "tensor")),
    (rf"{_LAYER}/(o|down)/lora_a", (("tensor", "fsdp"), None)),
    (rf"{_LAYER}/(o|down)/lora_b", (None, "fsdp")),
    (rf"({_LAYER}/(attention|mlp)_|language/)norm/scale", _WHOLE),
    (r"language/embedding", (None, CUT)),
    (r"language/lm_head", (CUT, None)),
)
# Parameters that stages train next to the model: linear heads, and the value model of PPO.
AUXILIARY: Table = ((r"(heads|value/head)/.+", _WHOLE),)
TABLES: Table = (*VISION, *ADAPTER, *LANGUAGE, *AUXILIARY)


def specification(path: str, shape: Sequence[int], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """How one parameter is sharded.

    Args:
      path: keys joined by "/"; PPO's value model has the paths of the policy below "value/".
      shape: of the parameter.

    Raises:
      UserError: no rule covers it.

    Example: `specification("language/layers/q/lora_a", (2, 64, 8), mesh)` is
    `PartitionSpec(None, "fsdp", None)` where `mesh.shape["fsdp"]` divides 64.
    """
    axes = next((axes for regex, axes in TABLES if re.fullmatch(regex, path)), None)
    if axes is None and path.startswith("value/"):
        return specification(path.removeprefix("value/"), shape, mesh)
    if axes is None:
        raise UserError(
            f"no rule covers the parameter {path}; add one to orl_jax/models/sharding/rules.py"
        )
    leading = (None,) * (len(shape) - len(axes))
    return PartitionSpec(*fitting((*leading, *axes), shape, mesh.shape))


def fitting(axes: Sequence[Any], shape: Sequence[int], sizes: Mapping[str, int]) -> Axes:
    """`axes` without those that do not divide their dimension evenly.

    Args:
      axes: for each dimension an axis of the mesh, several, or None.
      sizes: devices along the mesh's axes.

    Example: `fitting(("fsdp", None), (6, 4), {"fsdp": 4})` is `(None, None)`.
    """

    def fit(axis: Any, size: int) -> Any:
        names = (axis,) if isinstance(axis, str) else axis or ()
        count = math.prod(sizes[name] for name in names)
        return axis if names and size % count == 0 else None

    return tuple(fit(axis, size) for axis, size in zip(axes, shape, strict=True))
