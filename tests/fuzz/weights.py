"""Mutated folders of weights: what `import_weights` and `read_peft` make of them.

`campaign(count, seed, folder)` counts outcomes. Good ones are "imported" (everything is there and
finite) and "refused" (a `UserError` of one line, and nothing is left behind); all others are named
after what went wrong: "traceback", "hang", "not one line", "left behind", "not finite", "half".
"""

import copy
import json
import os
import pathlib
import random
import runpy
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz.frame import TookTooLong, bounded
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.models.assembly import load_params, stored_config
from orl_jax.models.llama import Llama
from orl_jax.models.params import flatten
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.run.errors import UserError
from orl_jax.weights import matching, names
from orl_jax.weights.importing import import_weights, model_shapes
from orl_jax.weights.peft import projection_shapes, read_peft
from orl_jax.weights.peft_names import peft_config, peft_name

SECONDS = 20.0  # that one folder may take on a busy machine; most take less than one
GOOD = ("imported", "refused")
ROOT = pathlib.Path(__file__).parents[2]
PARTS = ("language", "vision", "adapter", "peft")
LLAMA = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "tie_word_embeddings": False, "vocab_size": 0, "max_position_embeddings": 64,
    "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}  # fmt: skip
CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 20,
    "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 4, "image_size": 8,
    "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu",
}  # fmt: skip
QFORMER = {
    "model_type": "blip_2_qformer", "hidden_size": 8, "num_hidden_layers": 4,
    "num_attention_heads": 2, "intermediate_size": 12, "cross_attention_frequency": 2,
    "layer_norm_eps": 1e-12, "hidden_act": "gelu", "position_embedding_type": "absolute",
}  # fmt: skip


def campaign(count: int, seed: int, folder: pathlib.Path) -> Counter:
    """Imports `count` mutated folders, made in `folder`; the outcomes by name.

    What is not good is printed with the number of the case, which `case` repeats.
    """
    whole = make_folders(folder / "whole")
    found: Counter = Counter()
    for number in range(count):
        outcome, what = case(seed, number, whole, folder / "case")
        found[outcome] += 1
        if outcome not in GOOD:
            print(f"seed {seed}, case {number}: {outcome}: {what}", file=sys.stderr)
    return found


def case(seed: int, number: int, whole: pathlib.Path, folder: pathlib.Path) -> tuple[str, str]:
    """One mutated copy of one part, imported; the outcome and what was done or said."""
    draw = random.Random(f"{seed} {number}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    part = draw.choice(PARTS)
    done = [draw.choice(MUTATIONS)(draw, folder / part) for _ in range(draw.choice((1, 1, 1, 2)))]
    outcome, said = _watched(lambda: _use(part, folder))
    return outcome, f"{part}: {', '.join(done)}: {said}"


def _watched(use: Callable[[], str]) -> tuple[str, str]:
    try:
        with bounded(SECONDS):
            return use(), ""
    except UserError as error:
        text = str(error)
        good = "\n" not in text and text.encode(errors="replace").decode() == text and text
        return "refused" if good and len(text) < 2000 else "not one line", text[:300]
    except TookTooLong:
        return "hang", ""
    except BaseException as error:  # also a panic of Rust
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return "traceback", f"{type(error).__name__}: {str(error)[:200]}"


def _use(part: str, folder: pathlib.Path) -> str:
    if part == "peft":
        read = read_peft(folder / "peft", _adapted())
        return _kind(flatten(read.params))
    config = runpy.run_path(str(ROOT / "configs" / "imported.py"))["get_config"]().unlock()
    config.weights.update(dtype="float32", **{part: str(folder / part)})
    config.data.update(frames=2, image_size=8, prompt_tokens=64, response_tokens=4)
    config.model.vision.update(width=16, layers=3, heads=4, mlp_width=20, patch_size=4)
    config.model.adapter.update(queries=3, width=8, layers=4, heads=2, mlp_width=12)
    config.model.language.update(width=16, layers=2, heads=4, kv_heads=2, mlp_width=20)
    workdir = folder / "run"
    try:
        place = import_weights(config.lock(), str(workdir))
    except UserError:
        left = [path for path in workdir.rglob("*") if path.name != "checkpoints"]
        if left:
            return "left behind"
        raise
    return _kind(flatten(load_params(place.path)), _wanted(part, place.path))


def _wanted(part: str, checkpoint: pathlib.Path) -> dict[str, Any]:
    """The shapes of the part that was imported."""
    config = stored_config(checkpoint)
    tokens = 1
    if part == "language":
        tokens = load_params(checkpoint)["language"]["embedding"].shape[0]
    shapes = model_shapes(VlmSettings.from_config(config), tokens)
    fresh = ("adapter/qformer/queries", "adapter/time", "adapter/feature", "adapter/project")
    return {
        path: value.shape for path, value in shapes.items()
        if path.startswith(f"{part}/") and not path.startswith(fresh)
    }  # fmt: skip


def _kind(params: dict[str, Any], wanted: dict[str, Any] | None = None) -> str:
    if not all(np.isfinite(np.asarray(value, np.float32)).all() for value in params.values()):
        return "not finite"
    shapes = {path: value.shape for path, value in params.items()}
    return "imported" if wanted is None or shapes == wanted else "half"


# Whole folders, without the libraries that write them.


def make_folders(folder: pathlib.Path) -> pathlib.Path:
    """A folder for each of `PARTS`, which are imported without complaint."""
    rng = np.random.default_rng(0)
    tokenizer = build_word_tokenizer(["What does the red circle do?", "It moves to the left."])
    tables = {
        "language": (names.llama(), LLAMA), "vision": (names.clip_vision(), CLIP),
        "adapter": (names.qformer(2), QFORMER),
    }  # fmt: skip
    shapes = _shapes(len(tokenizer))
    for part, (table, config) in tables.items():
        tensors = {}
        for row in table.rows:
            stack = shapes[row.ours].shape
            for layer in range(stack[0] if row.stacked else 1):
                shape = matching._FORMS_BACK[row.form](stack[1:] if row.stacked else stack)
                tensors[row.name(layer)] = rng.normal(size=shape).astype(np.float32)
        (folder / part).mkdir(parents=True)
        _write_json(folder / part / "config.json", config)
        if part == "language":
            _write_shards(folder / part, tensors)
            tokenizer.save_pretrained(str(folder / part))
        else:
            save_file(tensors, folder / part / "model.safetensors", {"format": "pt"})
    _write_peft(folder / "peft", rng)
    return folder


def _shapes(tokens: int) -> dict[str, Any]:
    config = runpy.run_path(str(ROOT / "configs" / "imported.py"))["get_config"]().unlock()
    config.data.update(frames=2, image_size=8)
    config.model.vision.update(width=16, layers=3, heads=4, mlp_width=20, patch_size=4)
    config.model.adapter.update(queries=3, width=8, layers=4, heads=2, mlp_width=12)
    config.model.adapter.cross_frequency = 2
    config.model.language.update(width=16, layers=2, heads=4, kv_heads=2, mlp_width=20)
    return model_shapes(VlmSettings.from_config(config), tokens)


def _write_shards(folder: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    places = {}
    for number in (1, 2):
        file = f"model-{number:05}-of-00002.safetensors"
        some = {name: tensors[name] for name in sorted(tensors)[number - 1 :: 2]}
        save_file(some, folder / file, {"format": "pt"})
        places |= dict.fromkeys(some, file)
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})


def _adapted() -> Llama:
    return Llama(vocabulary=1, width=16, layers=2, heads=4, kv_heads=2, mlp_width=20)


def _write_peft(folder: pathlib.Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    tensors, shapes = {}, projection_shapes(_adapted())
    for name, (width_in, width_out) in shapes.items():
        for layer in range(2):
            tensors[peft_name(name, layer, "lora_a")] = rng.normal(size=(4, width_in))
            tensors[peft_name(name, layer, "lora_b")] = rng.normal(size=(width_out, 4))
    floats = {name: value.astype(np.float32) for name, value in tensors.items()}
    save_file(floats, folder / "adapter_model.safetensors", {"format": "pt"})
    _write_json(folder / "adapter_config.json", peft_config(list(shapes), 4, 8.0, ""))


def _write_json(file: pathlib.Path, value: Any) -> None:
    file.write_text(json.dumps(value))


# Mutations: each changes a folder and says what it did.

EVIL = (
    0, -1, 1, 2, 3, 7, 10**9, 10**18, 2**63, True, False, None, 1.5, -0.0, 1e308, "", "16", "\0",
    "../../etc/passwd", "x" * 5000, "\ud800", [], {}, [1, 2], {"a": 1}, [[[]]], "nan", "llama",
)  # fmt: skip
RAW = (
    "9" * 5000, "[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "NaN",
    "-Infinity", "1e999", '"\\ud800"', "{", '"', "",
)  # fmt: skip


def _json_value(draw: random.Random, folder: pathlib.Path) -> str:
    """Another value for a random key, at any depth."""
    file = _pick(draw, folder, "*.json")
    tree = _tree(file)
    holder, key = _somewhere(draw, tree)
    value = copy.deepcopy(draw.choice(EVIL))
    holder[key] = value
    _write_json(file, tree)
    return f"{file.name} {str(key)[:40]}={str(value)[:20]!r}"


def _json_raw(draw: random.Random, folder: pathlib.Path) -> str:
    """Text that Python's json would write for no value, in place of one."""
    file = _pick(draw, folder, "*.json")
    tree = _tree(file)
    holder, key = _somewhere(draw, tree)
    holder[key] = "@@"
    raw = draw.choice(RAW)
    file.write_text(json.dumps(tree).replace('"@@"', raw))
    return f"{file.name} {str(key)[:40]} is {raw[:10]}"


def _json_drop(draw: random.Random, folder: pathlib.Path) -> str:
    file = _pick(draw, folder, "*.json")
    tree = _tree(file)
    holder, key = _somewhere(draw, tree)
    del holder[key]
    _write_json(file, tree)
    return f"{file.name} without {str(key)[:40]}"


def _json_swap(draw: random.Random, folder: pathlib.Path) -> str:
    """The whole file is other JSON, or none."""
    file = _pick(draw, folder, "*.json")
    text = draw.choice(("[]", "1", "null", "{}", '"a"', "\ufeff{}", "{]", "[" * 10**6, "\0\0"))
    file.write_text(text)
    return f"{file.name} is {text[:6]!r}"


def _cut(draw: random.Random, folder: pathlib.Path) -> str:
    file = _pick(draw, folder, "*")
    content = file.read_bytes()
    size = draw.choice((0, 1, 7, 8, 9, draw.randrange(len(content) + 1)))
    file.write_bytes(content[:size])
    return f"{file.name} cut to {size} bytes"


def _flip(draw: random.Random, folder: pathlib.Path) -> str:
    """Some bytes are others: at the beginning, in the header, or anywhere."""
    file = _pick(draw, folder, "*")
    content = bytearray(file.read_bytes())
    within = min(draw.choice((8, 64, 2000, len(content))), len(content))
    for _ in range(draw.choice((1, 2, 20))):
        if within:
            content[draw.randrange(within)] = draw.randrange(256)
    file.write_bytes(content)
    return f"{file.name} with other bytes in the first {within}"


def _file(draw: random.Random, folder: pathlib.Path) -> str:
    """A file that is gone, or is not a file."""
    file = _pick(draw, folder, "*")
    file.unlink()
    kind = draw.choice(("gone", "folder", "fifo", "dangling", "circle", "empty", "device"))
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "dangling":
        file.symlink_to("nowhere")
    elif kind == "circle":
        file.symlink_to(file.name)
    elif kind == "empty":
        file.touch()
    elif kind == "device":
        file.symlink_to("/dev/zero")
    return f"{file.name} is {kind}"


def _tensor(draw: random.Random, folder: pathlib.Path) -> str:
    """A tensor with other numbers, of another type or shape, under another name, or gone."""
    file = _pick(draw, folder, "*.safetensors")
    try:
        state = load_file(file)
    except (SafetensorError, OSError):
        return f"{file.name} is damaged already"
    name = draw.choice(sorted(state))
    value, kind = state.pop(name), draw.choice(tuple(TENSORS))
    other = TENSORS[kind](value, draw)
    if other is not None:
        state[f"{name}.x" if kind == "name" else name] = np.ascontiguousarray(other)
    save_file(state, file, {"format": "pt"})
    return f"{name} {kind}"


def _with(value: np.ndarray, number: float, draw: random.Random) -> np.ndarray:
    out = value.copy()
    out.reshape(-1)[draw.randrange(max(out.size, 1))] = number
    return out


TENSORS: dict[str, Callable[[np.ndarray, random.Random], np.ndarray | None]] = {
    "nan": lambda x, draw: _with(x, np.nan, draw),
    "infinite": lambda x, draw: _with(x, -np.inf, draw),
    "all nan": lambda x, _: np.full_like(x, np.nan),
    "too large": lambda x, draw: _with(x.astype(np.float64), 1e300, draw),
    "float64": lambda x, _: x.astype(np.float64),
    "float16": lambda x, _: x.astype(np.float16),
    "int8": lambda x, _: x.astype(np.int8),
    "int64": lambda x, _: x.astype(np.int64),
    "bool": lambda x, _: x > 0,
    "complex": lambda x, _: x.astype(np.complex64),
    "transposed": lambda x, _: x.T,
    "wider": lambda x, _: np.concatenate([x, x], axis=-1),
    "empty": lambda x, _: x[:0],
    "scalar": lambda x, _: x.reshape(-1)[0],
    "deeper": lambda x, _: x[None],
    "name": lambda x, _: x,
    "gone": lambda x, _: None,
}


def _more(draw: random.Random, folder: pathlib.Path) -> str:
    """A file that does not belong there."""
    name, text = draw.choice((
        ("model.safetensors", ""), ("other.safetensors", "x"), ("pytorch_model.bin", "x"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../../x"}}'),
        ("other.safetensors.index.json", "{}"), ("adapter_model.bin", "x"),
        ("tokenizer.model", "x"), ("special_tokens_map.json", '{"eos_token": 5}'),
        ("added_tokens.json", '{"a": -1}'), ("chat_template.jinja", "{{"),
        ("model.safetensors.index.json", '{"weight_map": {"a": ["b"], "c": {}}}'),
    ))  # fmt: skip
    (folder / name).write_text(text)
    return f"{name} added"


MUTATIONS = (
    _json_value, _json_value, _json_value, _json_raw, _json_raw, _json_drop, _json_swap, _cut,
    _flip, _file, _tensor, _tensor, _tensor, _more,
)  # fmt: skip


def _pick(draw: random.Random, folder: pathlib.Path, pattern: str) -> pathlib.Path:
    files = sorted(file for file in folder.glob(pattern) if file.is_file())
    files = [file for file in files if file.resolve().is_relative_to(folder)]
    if not files:  # a second mutation after one that left none
        (folder / "config.json").unlink(missing_ok=True)
        (folder / "config.json").write_text("{}")
        return folder / "config.json"
    return draw.choice(files)


def _tree(file: pathlib.Path) -> dict[str, Any]:
    """What a JSON file holds; an earlier mutation may have left it without an object."""
    try:
        tree = json.loads(file.read_text())
    except (ValueError, RecursionError):
        tree = {}
    return tree if isinstance(tree, dict) and tree else {"a": 1}


def _somewhere(draw: random.Random, tree: Any) -> tuple[Any, Any]:
    """A list or object and one of its places."""
    while True:
        key = draw.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        inner = tree[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
            return tree, key
        tree = inner
