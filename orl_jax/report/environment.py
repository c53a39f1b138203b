"""Where a run took place: what a reader needs to judge its timings."""

import importlib.metadata
import os
import platform

PACKAGES = (
    "orl_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "array_record",
    "decord",
    "av",
    "numpy",
)


def environment() -> dict[str, str]:
    """Name -> value: Python, system, processor cores, versions of the packages that matter.

    Example: `environment()["Python"]` gives "3.11.9".
    """
    found = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor cores": str(_cores()),
    }
    return found | {name: version for name in PACKAGES if (version := _version(name))}


def _cores() -> int:
    """Cores that this process may use, fewer than the machine's inside a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
