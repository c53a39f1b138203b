"""How the tests compile: quickly, and once for all workers and the processes that they start.

Compiled programs are kept in a folder that is named by what they depend on: the processor, jaxlib
and XLA's flags. JAX's own key leaves out the processor's features.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
import time

ROOT = pathlib.Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "programs"
DAYS = 30
SECONDS = "0.05"  # a program that compiles faster is not worth a file

# The tests compile much and run little. Unoptimised programs compile in half the time.
FLAGS = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
# Without the emitters that generate MLIR for each fusion they compile in a quarter of that. XLA
# ends the process at a flag that it does not know: only where it is known to be one.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # A program is split into 32 modules for as many cores; small ones compile faster as a whole.
    FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]


def processor() -> str:
    """Model and features of this processor: programs of one may not run on another."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = re.findall(r"^(?:model name|flags|Features)\s*:.*$", text, re.MULTILINE)
    return "\n".join(sorted(set(lines)))


def folder() -> pathlib.Path:
    """The folder for this processor, this jaxlib and the XLA flags of the environment."""
    parts = (processor(), importlib.metadata.version("jaxlib"), os.environ.get("XLA_FLAGS", ""))
    return CACHE / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def use() -> None:
    """Sets the environment, which workers and other processes inherit; before jax is imported.

    Flags and a folder that are given from outside (`XLA_FLAGS`, `JAX_COMPILATION_CACHE_DIR`) are
    kept.
    """
    os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", SECONDS)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def drop_old() -> None:
    """Removes programs made longer than `DAYS` ago: most belong to code that has changed since."""
    for path in CACHE.glob("*/*"):
        with contextlib.suppress(OSError):  # another run may have removed it
            if path.stat().st_mtime < time.time() - DAYS * 86400:
                path.unlink()
