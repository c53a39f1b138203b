"""XLA's buffer assignment of a module, and which of its arrays only CPUs widen."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from orl_jax.performance.plan import buffer_assignment
from orl_jax.performance.plan.buffer_assignment import Value
from orl_jax.performance.plan.cpu_widening import CpuWidening
from orl_jax.performance.plan.hlo import Module, arrays_of

N = 128
TEXT = """HloModule m, is_scheduled=true

%widen (p: bf16[8,4]) -> f32[8,4] {
  %p = bf16[8,4]{1,0} parameter(0)
  ROOT %c = f32[8,4]{1,0} convert(%p)
}

%transpose (p.1: bf16[8,4]) -> f32[4,8] {
  %p.1 = bf16[8,4]{1,0} parameter(0)
  %c.1 = f32[8,4]{1,0} convert(%p.1)
  ROOT %t = f32[4,8]{1,0} transpose(%c.1), dimensions={1,0}
}

%round (p.2: f32[8,4]) -> bf16[8,4] {
  %p.2 = f32[8,4]{1,0} parameter(0)
  %c.2 = bf16[8,4]{1,0} convert(%p.2)
  %c.3 = f32[8,4]{1,0} convert(%c.2)
  %m.3 = f32[8,4]{1,0} multiply(%c.3, %c.3)
  ROOT %c.4 = bf16[8,4]{1,0} convert(%m.3)
}

%replace (p.5: bf16[8,4], p.6: bf16[1,4], p.7: s32[]) -> bf16[8,4] {
  %p.5 = bf16[8,4]{1,0} parameter(0)
  %c.5 = f32[8,4]{1,0} convert(%p.5)
  %p.6 = bf16[1,4]{1,0} parameter(1)
  %c.6 = f32[1,4]{1,0} convert(%p.6)
  %p.7 = s32[] parameter(2)
  %u = f32[8,4]{1,0} dynamic-update-slice(%c.5, %c.6, %p.7, %p.7)
  ROOT %c.7 = bf16[8,4]{1,0} convert(%u)
}

ENTRY %main (x: bf16[8,4], y: f32[8,4], z: bf16[1,4], i: s32[]) -> (bf16[8,4], f32[4,8]) {
  %x = bf16[8,4]{1,0} parameter(0), metadata={op_name="x"}
  %y = f32[8,4]{1,0} parameter(1)
  %z = bf16[1,4]{1,0} parameter(2)
  %i = s32[] parameter(3)
  %held = f32[8,4]{1,0} fusion(%x), kind=kLoop, calls=%widen, metadata={op_name="jit(f)/a"}
  %transposed = f32[4,8]{1,0} fusion(%x), kind=kLoop, calls=%transpose
  %replaced = bf16[8,4]{1,0} fusion(%x, %z, %i), kind=kLoop, calls=%replace
  %fresh = f32[8,4]{1,0} fusion(%replaced), kind=kLoop, calls=%widen
  %real = f32[8,8]{1,0} dot(%held, %transposed), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %rounded = f32[8,4]{1,0} dot(%real, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %out = bf16[8,4]{1,0} fusion(%rounded), kind=kLoop, calls=%round
  ROOT %tuple = (bf16[8,4]{1,0}, f32[4,8]{1,0}) tuple(%out, %transposed)
}
"""


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("y", 128),  # an argument
        ("held", 0),  # a GPU reads x
        ("transposed", 64),
        ("fresh", 64),  # its source is not held
        ("replaced", 0),  # a GPU writes into x
        ("real", 256),  # read as float32
        ("rounded", 64),  # rounded before anything else
        ("out", 64),
    ],
)
def test_sizes_without_the_widening(name, size):
    module = Module(TEXT)
    item = module.instructions[name]
    assert CpuWidening(module).size(Value(item, item.arrays[0], 0, 0, (0, 0))) == size


def test_parsing_a_module():
    module = Module(TEXT)
    held = module.instructions["held"]
    assert (held.source, held.operands, held.called) == ("jit(f)/a", ("x",), {"calls": "widen"})
    assert module.root("main").is_tuple and len(module.root("main").arrays) == 2
    assert module.caller("transpose").name == "transposed" and module.caller("main") is None
    assert [user.name for user in module.users["transposed"]] == ["real", "tuple"]
    assert module.parameter("replace", 2).name == "p.7"
    assert [array.size for array in arrays_of("(s32[], /*index=1*/bf16[2,3]{1,0})")] == [4, 12]


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """The buffer assignment of products in bfloat16, and the compiler's own statistics."""
    folder = tmp_path_factory.mktemp("dump")
    shape = jax.ShapeDtypeStruct((N, N), jnp.bfloat16)
    lowered = jax.jit(lambda x, w: jnp.tanh(x @ w) @ w).lower(shape, shape)
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # jax asks the setting once
    compiled = lowered.compile({"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True})
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    return buffer_assignment.read(folder), compiled.memory_analysis()


def test_the_peak_matches_the_compilers_statistics(account):
    found, stats = account
    held = sum(value.array.size for value in found.peak())
    assert held == pytest.approx(stats.temp_size_in_bytes, rel=0.01)
    assert [value.array.size for value in found.outputs] == [stats.output_size_in_bytes]


def test_only_arrays_that_a_gpu_holds_count(account):
    size = CpuWidening(account[0].module).size
    array = 2 * N * N  # in bfloat16
    assert sum(value.array.size for value in account[0].peak()) == 6 * array
    # the first product and its tanh, or its tanh and the second product
    assert sum(map(size, account[0].peak(size))) == 2 * array


def test_without_a_dump_there_is_no_buffer_assignment(tmp_path):
    assert buffer_assignment.read(tmp_path) is None
