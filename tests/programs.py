"""Where the tests keep compiled programs: one folder for all workers and what they start.

The folder is named by what a compiled program depends on and JAX's own key leaves out or would
only pile up in one place: the processor, jaxlib and XLA's flags.
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

    A folder that is given from outside (`JAX_COMPILATION_CACHE_DIR`) is kept.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", SECONDS)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def drop_old() -> None:
    """Removes programs made longer than `DAYS` ago: most belong to code that has changed since."""
    for path in CACHE.glob("*/*"):
        with contextlib.suppress(OSError):  # another run may have removed it
            if path.stat().st_mtime < time.time() - DAYS * 86400:
                path.unlink()
