"""A jitted function that compiles in a thread of its own, so that a stop need not wait for it.

XLA compiles for seconds to minutes, and in that time the thread that called it handles no signal. A
process that is asked to stop leaves its compilation to itself: the arguments are untouched, so
whoever is told (`StopRequested`) can still save them.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from orl_jax.run import processes
from orl_jax.run.background import Background
from orl_jax.run.stop import StopRequested


class Program:
    """See the module; it is called like the function.

    Several processes compile at the same time and agree: if one has to stop, none calls.

    Args:
      function: of arrays.
      mesh: is set while it is traced and called, if it has several devices.
      options: of `jax.jit`.

    Raises (by calls):
      StopRequested: a signal came before it was compiled, for arguments of these shapes.

    Example: `Program(function, mesh, donate_argnums=0)(state, batch)`.
    """

    def __init__(self, function: Callable[..., Any], mesh: Mesh, **options: Any) -> None:
        self._jitted = jax.jit(function, **options)
        self._mesh = mesh
        self._compiled: set[Any] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        signature = _signature((args, kwargs))
        if signature is not None and signature not in self._compiled:
            self._compile(args, kwargs)
            self._compiled.add(signature)
        with self._set_mesh():
            return self._jitted(*args, **kwargs)

    def _cache_size(self) -> int:
        """As that of a function of `jax.jit`: the number of programs."""
        return self._jitted._cache_size()

    def _compile(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """JAX keeps the program, so the call that follows neither traces nor compiles."""
        if threading.current_thread() is not threading.main_thread():
            return  # whoever waits for this thread can leave it to itself

        def compile_it() -> None:
            with self._set_mesh():
                self._jitted.lower(*args, **kwargs).compile()

        signum = None
        with Background("compilation") as thread:
            try:
                thread.start(compile_it).result(grace=0.0)
            except StopRequested as stopped:
                signum = stopped.signum
        if signum := next(filter(None, processes.gather(signum)), None):
            raise StopRequested(signum)

    def _set_mesh(self) -> contextlib.AbstractContextManager[Any]:
        return jax.set_mesh(self._mesh) if self._mesh.size > 1 else contextlib.nullcontext()


def _signature(arguments: Any) -> Any:
    """Equal for arguments that the same program takes; None inside of another one's tracing."""
    leaves, structure = jax.tree.flatten(arguments)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return None
    types = tuple((jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves)
    return structure, types
