"""What the machine lacks is one line, whichever library says so."""

import errno
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from orl_jax.run import shortage
from orl_jax.run.checkpoint.damage import naming_full_disk, readable
from orl_jax.run.errors import Failure, UserError

ROOT = pathlib.Path(__file__).parents[2]
# As array_record, tokenizers (in Rust) and tensorstore say it; none of them is an OSError.
FULL = [
    RuntimeError('Failed to finalize writing of split "train": write() failed: File too large'),
    Exception("No space left on device (os error 28)"),
    ValueError("OUT_OF_RANGE: Error writing: Failed to write 10 bytes: File too large"),
    OSError(errno.EROFS, "Read-only file system", "x.json"),
]
MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
    RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda e: type(e).__name__)
def test_a_full_disk(error):
    wrapped = ValueError("one split failed")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        line = shortage.explain(each)
        assert isinstance(line, Failure) and "make room there" in str(line)


@pytest.mark.parametrize("error", MEMORY, ids=lambda e: type(e).__name__)
def test_memory(error, tmp_path):
    line = shortage.explain(error)
    assert isinstance(line, Failure) and re.match(r"out of memory \(.*smaller batches", str(line))
    # Neither the checkpoint that is read nor the disk that it is written to is to blame.
    for context in (readable(tmp_path, "cannot be read"), naming_full_disk(tmp_path)):
        with pytest.raises(type(error)), context:
            raise error


def test_a_real_allocation():
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jnp.zeros((1 << 25, 1 << 25)).block_until_ready()
    assert str(shortage.explain(error.value)).startswith("out of memory (RESOURCE_EXHAUSTED")


def test_other_errors_are_not_explained():
    for error in (ValueError("shapes"), AssertionError(), RuntimeError("bad"), KeyError("memory")):
        assert shortage.explain(error) is None


@pytest.mark.parametrize("platform", ["cuda", "tpu", "foo"])
def test_a_device_that_is_missing(platform):
    script = (
        "from orl_jax.run import shortage\n"
        "import jax\n"
        "try:\n    jax.devices()\n"
        "except Exception as error:\n    raise shortage.explain(error) from None\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platform}, timeout=120,
    )  # fmt: skip
    if found.returncode:  # else there is such a device
        last = found.stderr.strip().splitlines()[-1]
        assert UserError.__name__ in last and f"JAX_PLATFORMS is '{platform}'" in last


def test_texts_are_written_atomically_with_their_names_in_errors():
    """By `write_atomic`: a full disk neither leaves half a file nor an error without a name."""
    allowed = {"files.py", "sums.py", "schedule.py"}  # itself; inside Orbax's commit; a traceback
    code = [path for path in (ROOT / "orl_jax").rglob("*.py") if path.name not in allowed]
    assert not [str(path) for path in code if ".write_text(" in _without_docs(path)]


def _without_docs(path):
    return re.sub(r'"""[\s\S]*?"""', "", path.read_text())
