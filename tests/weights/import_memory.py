"""Measures the memory of an import; not a test, because it writes tens of gigabytes.

    python tests/weights/import_memory.py --size=1b --folder=/tmp/memory
    python tests/weights/import_memory.py --size=7b --folder=/tmp/memory

Writes a LLaMA of random bits in bfloat16, which do not compress, in shards of 4 GB, imports it with
scripts/import_weights.py, prints the peaks of memory as Linux counts them, and deletes everything.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import hub_folders
import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
SHARD = 4 * 10**9
SIZES = {  # TinyLlama-1.1B and LLaMA-2-7B
    "1b": {
        "hidden_size": 2048, "num_hidden_layers": 22, "intermediate_size": 5632,
        "num_attention_heads": 32, "num_key_value_heads": 4,
    },
    "7b": {
        "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },
}  # fmt: skip


def shapes(size: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """The shapes of a `LlamaForCausalLM` with 32,000 tokens, by tensor."""
    width, mlp = size["hidden_size"], size["intermediate_size"]
    few = width * size["num_key_value_heads"] // size["num_attention_heads"]
    layer = {
        "self_attn.q_proj": (width, width), "self_attn.k_proj": (few, width),
        "self_attn.v_proj": (few, width), "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (mlp, width), "mlp.up_proj": (mlp, width), "mlp.down_proj": (width, mlp),
        "input_layernorm": (width,), "post_attention_layernorm": (width,),
    }  # fmt: skip
    layers = {
        f"model.layers.{number}.{name}.weight": shape
        for number in range(size["num_hidden_layers"])
        for name, shape in layer.items()
    }
    ends = {"model.embed_tokens.weight": (32000, width), "lm_head.weight": (32000, width)}
    return {**ends, **layers, "model.norm.weight": (width,)}


def write_folder(folder: pathlib.Path, size: dict[str, int]) -> int:
    """Writes the folder; returns the bytes of its tensors."""
    folder.mkdir(parents=True)
    hub_folders.save_tokenizer(folder, 32000)
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, **size}
    (folder / "config.json").write_text(json.dumps(config))
    shards, room = [{}], SHARD
    for name, shape in shapes(size).items():
        room -= 2 * int(np.prod(shape))
        if room < 0:
            shards, room = [*shards, {}], SHARD - 2 * int(np.prod(shape))
        shards[-1][name] = shape
    places = {}
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / file, tensors)
        places |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return sum(2 * int(np.prod(shape)) for shape in shapes(size).values())


def write_shard(path: pathlib.Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """Writes a safetensors file of random bits."""
    noise = np.random.default_rng(0).bytes(2**27)
    header, end = {}, 0
    for name, shape in tensors.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        while end > 0:
            file.write(noise[: min(end, len(noise))])
            end -= len(noise)


def watch(pid: int, peaks: dict[str, int]) -> None:
    """Records the maxima of /proc/PID/status, in bytes, until the process ends."""
    while True:
        try:
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        except FileNotFoundError:
            return
        status = dict(line.split(":", 1) for line in lines)
        for name in ("RssAnon", "RssFile"):
            peaks[name] = max(peaks[name], int(status.get(name, "0 kB").split()[0]) * 1024)
        if not any(name in status for name in peaks):  # it has ended and waits to be reaped
            return
        time.sleep(0.05)


def main() -> None:
    """Writes, imports, prints, deletes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    folder = arguments.folder / f"import-{arguments.size}"
    try:
        total = write_folder(folder / "hub", SIZES[arguments.size])
        command = [
            sys.executable, "scripts/import_weights.py", "--config=configs/imported.py",
            f"--workdir={folder / 'run'}", f"--config.weights.language={folder / 'hub'}",
        ]  # fmt: skip
        start, peaks = time.monotonic(), {"RssAnon": 0, "RssFile": 0}
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        watcher = threading.Thread(target=watch, args=(process.pid, peaks), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(
            f"{arguments.size}: status {status}, tensors {total / 1e9:.2f} GB, "
            f"with the checkpoint {written / 1e9:.2f} GB, {seconds:.0f} s; peaks: "
            f"anonymous {peaks['RssAnon'] / 1e9:.2f} GB, mapped {peaks['RssFile'] / 1e9:.2f} GB, "
            f"ru_maxrss {usage.ru_maxrss * 1024 / 1e9:.2f} GB"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
