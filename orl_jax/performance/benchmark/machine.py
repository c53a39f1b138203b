"""Where and when a benchmark ran, without which its numbers mean nothing."""

import datetime
import os
import pathlib
import platform
import subprocess

import jax

from orl_jax.report.environment import environment

_CPU = pathlib.Path("/proc/cpuinfo")
_ROOT = pathlib.Path(__file__).parents[2]


def machine() -> dict[str, str]:
    """Processor, its load before the benchmark, devices, commit, date, versions, GLIBC_TUNABLES.

    Example: `machine()["devices"]` is "1 x NVIDIA H100 80GB HBM3".
    """
    devices = jax.devices()
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": _processor(),
        "allocator": os.environ.get("GLIBC_TUNABLES", ""),
        "load": f"{os.getloadavg()[0]:.1f}",
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        **environment(),
    }


def commit() -> str:
    """The commit of the source, with "+" if files were changed; "" outside a git checkout."""
    try:
        found = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found + "+" * bool(changed)


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _processor() -> str:
    lines = _CPU.read_text().splitlines() if _CPU.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
