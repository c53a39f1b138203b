"""Makes the API pages from the docstrings: `make docs`, or python docs/api_pages.py build/api.

Every module of `orl_jax` is imported, on the CPU. A warning is an error, with two exceptions that
nothing here can mend.
"""

import os
import pathlib
import sys
import typing
import warnings

import pdoc

os.environ["JAX_PLATFORMS"] = "cpu"
typing.GENERATING_DOCUMENTATION = "orl_jax"  # jaxtyping then shows Float[Array, "B G"]

ROOT = pathlib.Path(__file__).parents[1]
# Programs of other environments: TRL's and Tunix's side of a benchmark.
LEFT_OUT = "orl_jax.performance.benchmark.peers"
# Names in annotations of optax and tensorflow-datasets that only their own modules can resolve.
UNRESOLVED = ("ArrayTree", "Version", "utils")


def modules() -> list[str]:
    """What pdoc is to walk: by itself it leaves out modules that a package's `__all__` omits."""
    hidden = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in sorted((ROOT / "orl_jax").rglob("__init__.py"))
        if "__all__ =" in package.read_text()
        for path in sorted(package.parent.iterdir())
        if not path.name.startswith("__") and (path.suffix == ".py" or path.is_dir())
    ]
    return ["orl_jax", f"!{LEFT_OUT}", *hidden]


def write_pages(folder: pathlib.Path) -> pathlib.Path:
    """Writes a page for each module, with search; returns the first page."""
    pdoc.render.configure(
        docformat="google", template_directory=pathlib.Path(__file__).parent / "api_style"
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")
        for name in UNRESOLVED:
            warnings.filterwarnings("ignore", message=f".*Import of {name} failed", module="pdoc")
        pdoc.pdoc(*modules(), output_directory=folder)
    return folder / "index.html"


if __name__ == "__main__":
    print(write_pages(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")))
