"""Keeps workers small: what jax has compiled is dropped between files once it takes much memory."""

import ctypes
import ctypes.util
import gc
import os
import resource

import pytest

LIMIT = 1200  # MB that a worker may hold when it begins a file
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> float:
    """Megabytes that this process holds now (Linux; elsewhere the most so far)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE / 1e6
    except OSError:
        return most_resident()


def most_resident() -> float:
    """Megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a file."""
    if nextitem is not None and nextitem.path == item.path:
        return
    if resident() > LIMIT:
        release()


def release() -> None:
    """Drops compiled programs and gives freed memory back to the system."""
    import jax

    jax.clear_caches()
    gc.collect()
    name = ctypes.util.find_library("c")
    if name and hasattr(libc := ctypes.CDLL(name), "malloc_trim"):  # glibc
        libc.malloc_trim(0)
