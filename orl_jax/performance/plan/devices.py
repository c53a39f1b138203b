"""Devices to compile for: described GPUs where JAX's CUDA plugin is installed, else virtual CPUs.

XLA compiles for a GPU from its description; neither a GPU nor a driver is needed. The memory plan
is then exactly that of a run on such a GPU. Without the plugin XLA compiles for as many virtual CPU
devices, whose plan differs (`orl_jax.performance.plan.cpu_widening`).
"""

import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from orl_jax.run.errors import UserError

TARGETS = ("auto", "h100", "cpu")
PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
_VIRTUAL = re.compile(r"--xla_force_host_platform_device_count=\S*")

# NVIDIA's H100 SXM5 data sheet (compute capability 9.0, 132 multiprocessors), as XLA describes it.
_H100 = """
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: {memory}
  l2_cache_size: 52428800
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "NVIDIA H100 80GB HBM3"
"""

# The kernels are never run, and their speed does not affect memory.
_QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# Autotuning needs a GPU. Without it XLA cannot choose sizes for its own matrix kernels, so all are
# cuBLAS's, with their workspaces.
_WITHOUT_GPU = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}


class Target(NamedTuple):
    """The devices to compile for.

    Attributes:
      name: h100 | cpu.
      devices: as in `jax.devices()`.
      options: for the compiler.
    """

    name: str
    devices: Sequence[Any]
    options: dict[str, Any]


def make_target(name: str, count: int, memory: int) -> Target:
    """The devices of a plan; must be called before anything else in jax.

    Args:
      name: one of `TARGETS`; auto is h100 where JAX's CUDA plugin is installed, else cpu.
      count: number of devices.
      memory: bytes of each; with little memory, XLA for GPUs recomputes more.

    Raises:
      UserError: an unknown name; h100 without the plugin; jax was started with other devices.

    Example: `len(make_target("cpu", 4, 80 * 10**9).devices) == 4`.
    """
    if name not in TARGETS:
        raise UserError(f"--target={name}; choose one of {', '.join(TARGETS)}")
    if name == "h100" and not has_plugin():
        raise UserError(
            "--target=h100 compiles with JAX's CUDA plugin, which is not installed (no GPU is "
            "needed): pip install -e '.[gpu]', or use --target=cpu"
        )
    if name == "cpu" or not has_plugin():
        _start_cpus(count)
        return Target("cpu", jax.devices(), _QUICK)
    _start_cpus(1)
    topology = topologies.get_topology_desc(
        "plan", "cuda", topology=f"1 x 1 x {count}", target_config=_H100.format(memory=memory)
    )
    return Target("h100", topology.devices, _QUICK | _WITHOUT_GPU)


def has_plugin() -> bool:
    """Whether JAX's CUDA plugin is installed."""
    return any(importlib.util.find_spec(name) for name in PLUGINS)


def _start_cpus(count: int) -> None:
    """Starts jax with virtual CPU devices only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings repeat what the plan says
    os.environ["XLA_FLAGS"] = _VIRTUAL.sub("", os.environ.get("XLA_FLAGS", ""))
    jax.config.update("jax_enable_compilation_cache", False)  # a cache hit would report nothing
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.devices("cpu")) != count:
            raise UserError(
                f"jax was started with other devices than {count} CPUs; plan in a new process"
            ) from error
