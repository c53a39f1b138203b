"""RL with a judge that is not ours: `transformers serve` with SmolLM2-135M, on this machine.

A model this small is not a useful judge: it repeats the first label that it sees, and only because
its chat template begins the reply. The test shows that a real server is reached, asked, read and
counted, from the first prompt to the update.
"""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import jax
import numpy as np
import pytest

from orl_jax.rl import stage as rl
from orl_jax.run.metrics import read_metrics

pytestmark = pytest.mark.real
pytest.importorskip("gguf", reason="transformers reads GGUF files with it")
pytest.importorskip("torch", reason="the server runs the model with it")
pytest.importorskip("uvicorn", reason="the server needs it")


@contextlib.contextmanager
def transformers_serve(folder, log):
    """The server's address with its path, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = pathlib.Path(sys.executable).with_name("transformers")
    command = [program, "serve", folder, "--host=127.0.0.1", f"--port={port}", "--device=cpu"]
    with open(log, "w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health", server)
            yield f"{address}/v1"
        finally:
            server.terminate()


def wait_for(url, server, seconds=180):
    for _ in range(seconds):
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as response:
            if response.status == 200:
                return
        assert server.poll() is None, "the server has ended"
        time.sleep(1)
    raise AssertionError(f"no answer from {url} within {seconds} s")


def test_training_steps_with_a_real_server(run, tmp_path):
    import smollm2

    folder = tmp_path / "smollm2"
    smollm2.save(folder, opening='{"best": "')
    config = run[0].copy_and_resolve_references().unlock()
    config.rl.update(init_from=f"{run[1]}/checkpoints/sft", steps=2, validate_every=0)
    config.oracle.update(name="served")
    workdir = tmp_path / "run"
    with transformers_serve(folder, tmp_path / "log") as address:
        config.oracle.served.update(
            address=address, model=str(folder), mode="pairwise", show_reference=True,
            reply_tokens=8, timeout=120.0, deadline=600.0, concurrency=2,
            cache=str(tmp_path / "cache"),
        )  # fmt: skip
        state = rl.train(config, str(workdir))
        rl.train(config, str(tmp_path / "again"))
    assert int(state.step) == 2
    rows = [row for row in read_metrics(str(workdir), "rl") if "loss" in row]
    assert all(np.isfinite(row["loss"]) for row in rows)
    tables = [workdir / "rollouts" / f"{step}.jsonl" for step in (1, 2)]
    groups = [json.loads(line) for table in tables for line in table.read_text().splitlines()]
    assert all(group["valid"] or group["reason"] for group in groups)
    valid = [group["valid"] for group in groups]
    assert np.mean([row["oracle/valid_fraction"] for row in rows]) == np.mean(valid)
    assert np.mean(valid) > 0.2  # what it repeats is a label, half of the time
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.trained, state.reference)
    assert any(jax.tree.leaves(moved))
    again = [row for row in read_metrics(str(tmp_path / "again"), "rl") if "loss" in row]
    assert again[0]["oracle/cache_hit_fraction"] >= np.mean(valid[: len(valid) // 2]) > 0
