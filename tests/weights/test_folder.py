"""Hugging Face folders: every supported layout, and every way in which one can be broken."""

import json
import os
import pathlib
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from orl_jax.run.errors import UserError
from orl_jax.weights.folder import Folder

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.array([1.5, -2.0], ml_dtypes.bfloat16)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    return tmp_path


def write_index(folder, places, kind="model.safetensors"):
    (folder / f"{kind}.index.json").write_text(json.dumps({"weight_map": places}))


def write_shards(folder):
    """Two shards with their index."""
    save_file({"a": A}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": B}, folder / "model-00002-of-00002.safetensors")
    write_index(
        folder,
        {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    )


def check_tensors(folder):
    """The folder holds exactly `A` and `B`."""
    opened = Folder(folder)
    assert opened.config == {"model_type": "llama"}
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in opened.tensors.items()}
    assert found == {"a": ((2, 3), "float32"), "b": ((2,), "bfloat16")}
    for name, expected in {"a": A, "b": B}.items():
        assert opened.read(name).dtype == expected.dtype
        np.testing.assert_array_equal(opened.read(name), expected)


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors"])
def test_one_file(folder, name):
    save_file({"a": A, "b": B}, folder / name)
    check_tensors(folder)


def test_shards_with_an_index(folder):
    write_shards(folder)
    check_tensors(folder)


def test_pickled_shards_with_an_index(folder):
    torch = pytest.importorskip("torch", reason="pickles are PyTorch's")
    values = {"a": torch.tensor(A), "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}
    places = {}
    for name, value in values.items():
        places[name] = f"pytorch_model-{name}.bin"
        torch.save({name: value}, folder / places[name])
    write_index(folder, places, "pytorch_model.bin")
    check_tensors(folder)


def test_safetensors_are_preferred_to_pickles(folder):
    save_file({"a": A, "b": B}, folder / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"")
    check_tensors(folder)


def refused(folder, message):
    with pytest.raises(UserError, match=message):
        Folder(folder)


def test_missing_files(tmp_path):
    refused(tmp_path / "nowhere", "there is no folder .*nowhere")
    refused(tmp_path, "there is no .*config.json")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "config.json is not JSON")
    (tmp_path / "config.json").write_text("{}")
    refused(tmp_path, "holds no weights.*it holds config.json$")


@pytest.mark.parametrize("cut", [3, 60, 1])
def test_a_truncated_shard(folder, cut):
    write_shards(folder)
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[: -cut if cut < 60 else cut])
    refused(folder, "00002-of-00002.safetensors is truncated or damaged .*copy it again")


def test_a_missing_shard(folder):
    write_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "lists the shard model-00002-of-00002.safetensors, which is missing")


def test_a_missing_index(folder):
    write_shards(folder)
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, r"holds model-00001-of-00002.safetensors and no \*.index.json")


def test_an_index_that_lists_missing_tensors_or_paths(folder):
    write_shards(folder)
    first = "model-00001-of-00002.safetensors"
    write_index(folder, {"a": first, "b": first})
    refused(folder, "lists tensors that its shards lack: b$")
    write_index(folder, {"a": "../config.json"})
    refused(folder, "lists a shard '../config.json', which is not a file name")


class Malicious:
    """Makes a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(folder):
    torch = pytest.importorskip("torch", reason="pickles are PyTorch's")
    trace, file = folder / "trace", folder / "pytorch_model.bin"
    torch.save({"a": torch.tensor(A), "b": Malicious(trace)}, file)
    refused(folder, r"pytorch_model.bin calls \w+.mkdir: no code from it was run")
    file.write_bytes(pickle.dumps(Malicious(trace)))
    refused(folder, "pytorch_model.bin is not a zip file, .* no code from it was run")
    assert not trace.exists()


def test_a_truncated_pickle(folder):
    torch = pytest.importorskip("torch", reason="pickles are PyTorch's")
    file = folder / "pytorch_model.bin"
    torch.save({"a": torch.tensor(A)}, file)
    file.write_bytes(file.read_bytes()[:-100])
    refused(folder, "pytorch_model.bin is truncated or damaged")


def test_a_pickle_of_something_else(folder):
    torch = pytest.importorskip("torch", reason="pickles are PyTorch's")
    torch.save({"a": {"b": torch.tensor(A)}}, folder / "pytorch_model.bin")
    refused(folder, "is not a dict of tensors")


def test_pickles_need_torch(folder, monkeypatch):
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(folder, "pip install torch==2.13.0")


def test_one_tensor_is_read_at_a_time(folder):
    """Reading 8 KB of a sparse file of 2 GB must not take much more memory than that."""
    rows = 2**19
    shape = {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [8192, 8192 + rows * 4096]}
    header = {"a": {"dtype": "F32", "shape": [2, 1024], "data_offsets": [0, 8192]}, "b": shape}
    encoded = json.dumps(header).encode()
    path = pathlib.Path(folder) / "model.safetensors"
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + 8192 + rows * 4096)
    before = _resident()
    opened = Folder(folder)
    assert opened.tensors["b"].shape == (rows, 1024)
    assert opened.read("a").shape == (2, 1024)
    assert _resident() - before < 64e6


def _resident():
    """Peak memory of this process in bytes, including mapped files."""
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    (tmp_path / "config.json").write_text("{}")
    make(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="model.safetensors is missing or is not a file"):
        Folder(tmp_path)
