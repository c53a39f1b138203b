"""The summary of synthetic steps, by hand, and of a synthetic trace of a GPU."""

import json

import pytest
from jax.profiler import ProfileData

from orl_jax.performance.profiling.page import render
from orl_jax.performance.profiling.scopes import part
from orl_jax.performance.profiling.spans import Span
from orl_jax.performance.profiling.summary import summarise
from orl_jax.performance.profiling.trace import Op, Trace, Transfer, read

MS = 10**6


def span(name, start, end):
    return Span(name, start * MS, end * MS)


# ms       0    10   20   30   40   50   60   70   80   90   100
# host     |data|rollout--------------|oracle---|update----|  step 1
#               |encode-|
# device             [tanh] [while----]            [  dot  ]
#                             [mul]
TRACE = Trace(
    steps=[span("1", 0, 100)],
    stages=[
        span("data", 0, 10),
        span("rollout", 10, 50),
        span("encode", 10, 20),
        span("oracle", 50, 70),
        span("update", 70, 95),
    ],
    ops=[
        Op(span("tanh", 15, 25), "jit_encode", 10 * MS),
        Op(span("while", 30, 48), "jit__rollout", 12 * MS),
        Op(span("mul", 35, 41), "jit__rollout", 6 * MS),
        Op(span("dot", 75, 95), "jit_step", 20 * MS),
        Op(span("dot", 200, 300), "jit_step", 100 * MS),  # after the steps
    ],
    transfers=[Transfer(span("copy", 10, 12), "host to device", 400)],
)
SOURCES = {("jit_step", "dot"): "transpose(jvp(loss))/VLM.respond/dot_general"}


def test_stages_by_hand():
    (step,) = summarise(TRACE, SOURCES).steps
    stages = {stage.name: (stage.ms, stage.busy_ms) for stage in step.stages}
    assert stages == {
        "data": (10, 0),
        "encode": (10, 5),
        "rollout": (30, 5 + 18),
        "oracle": (20, 0),
        "update": (25, 20),
        "between": (5, 0),
    }
    assert (step.ms, step.busy_ms) == (100, 48)
    assert sum(stage.ms for stage in step.stages) == pytest.approx(step.ms)
    assert step.share("oracle") == pytest.approx(0.2)


def test_gaps_by_hand():
    gaps = summarise(TRACE, SOURCES).gaps
    found = [(gap.start_ms, gap.ms, gap.stage, gap.before, gap.after) for gap in gaps]
    assert found == [
        (48, 27, "oracle", "jit__rollout/while", "jit_step/dot"),
        (0, 15, "data", "", "jit_encode/tanh"),
        (25, 5, "rollout", "jit_encode/tanh", "jit__rollout/while"),
        (95, 5, "between", "jit_step/dot", "jit_step/dot"),
    ]


def test_operations_by_hand():
    summary = summarise(TRACE, SOURCES, top=2)
    ops = [(op.name, op.program, op.count, op.ms, op.share) for op in summary.ops]
    assert ops == [
        ("dot", "jit_step", 1, 20, pytest.approx(20 / 48)),
        ("while", "jit__rollout", 1, 12, pytest.approx(12 / 48)),
    ]
    programs = {work.name: (work.count, work.ms) for work in summary.programs}
    assert programs == {"jit_step": (1, 20), "jit__rollout": (2, 18), "jit_encode": (1, 10)}
    assert {work.name: work.ms for work in summary.parts} == {"respond": 20, "other": 28}
    assert [(m.kind, m.count, m.bytes, m.ms) for m in summary.transfers] == [
        ("host to device", 1, 400, 2)
    ]


def test_page_and_json():
    summary = summarise(TRACE, SOURCES, ["encode"], platform="cpu")
    page = render(summary)
    assert "Compilations in the traced steps: 1, of encode." in page
    assert "a device busy 48.0%, waiting for data 10.0%, waiting for oracle 20.0%" in page
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["1", "rollout", "30.0", "23.0", "30.0%"] in cells
    assert json.loads(summary.to_json())["waiting"] == pytest.approx({"data": 0.1, "oracle": 0.2})


@pytest.mark.parametrize(
    "source, name",
    [
        ("transpose(jvp(loss))/VLM.respond/language/q/dot_general", "respond"),
        ("VLM._encode/vision/layers/dot_general", "vision"),
        ("transpose(jvp(loss))/vocabulary/mul", "vocabulary"),
        ("copy", "other"),
    ],
)
def test_part(source, name):
    assert part(source) == name


GPU = """
planes {
  name: "/device:GPU:0"
  lines {
    id: 1 name: "Stream #13(Compute)" timestamp_ns: 0
    events { metadata_id: 1 offset_ps: 1000000 duration_ps: 4000000
             stats { metadata_id: 1 str_value: "fusion.2" }
             stats { metadata_id: 2 str_value: "jit_step" } }
  }
  lines {
    id: 2 name: "Stream #14(MemcpyH2D)" timestamp_ns: 0
    events { metadata_id: 2 offset_ps: 6000000 duration_ps: 1000000
             stats { metadata_id: 3 str_value: "kind_src:pageable size:400 dest:0" } }
  }
  lines {
    id: 3 name: "XLA Ops" timestamp_ns: 0
    events { metadata_id: 1 offset_ps: 1000000 duration_ps: 4000000 }
  }
  event_metadata { key: 1 value { id: 1 name: "loop_fusion_2" } }
  event_metadata { key: 2 value { id: 2 name: "MemcpyH2D" } }
  stat_metadata { key: 1 value { id: 1 name: "hlo_op" } }
  stat_metadata { key: 2 value { id: 2 name: "hlo_module" } }
  stat_metadata { key: 3 value { id: 3 name: "memcpy_details" } }
}
"""


def test_streams_of_a_gpu(tmp_path):
    path = tmp_path / "gpu.xplane.pb"
    path.write_bytes(ProfileData.text_proto_to_serialized_xspace(GPU))
    trace = read(path)
    assert trace.ops[0] == Op(Span("fusion.2", 1000, 5000), "jit_step", 4000)
    assert trace.transfers == [Transfer(Span("MemcpyH2D", 6000, 7000), "host to device", 400)]
    assert len(trace.ops) == 2
