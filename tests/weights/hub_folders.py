"""Tiny folders as other libraries write them, for the tests of the import."""

import json
import pathlib
import runpy
from typing import Any

import hub_models as hub
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).parents[2]
WORDS = 17  # tokens of `save_tokenizer`, without a <pad> or an <image>
CLIP = {
    "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
    "patch_size": 4, "image_size": 8, "layer_norm_eps": 1e-3,
}  # fmt: skip
QFORMER = {
    "hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 12,
    "encoder_hidden_size": 16, "vocab_size": 11, "max_position_embeddings": 8,
}  # fmt: skip
TOWER = "model.vision_tower.vision_tower.vision_model."


def save_tokenizer(folder: pathlib.Path, words: int = WORDS) -> None:
    """A tokenizer with `words` tokens and, like LLaMA's, without a padding token."""
    names = ["<unk>", "<s>", "</s>", *(f"word{index}" for index in range(words - 3))]
    vocabulary = {name: index for index, name in enumerate(names)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def save_llama(folder: pathlib.Path, family: str = "plain", rows: int = WORDS) -> Any:
    """A sharded `LlamaForCausalLM` whose embedding has `rows` rows, with its tokenizer."""
    model = hub.hub_llama(rows, family)
    model.save_pretrained(folder, max_shard_size="4KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    save_tokenizer(folder)
    return model


def save_clip(folder: pathlib.Path, kind: str = "vision") -> Any:
    """A `CLIPVisionModel`, with the names of transformers 4 ("old"), or in a `CLIPModel`."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

    if kind == "whole":
        text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = hub.randomise(CLIPModel(CLIPConfig(vision_config=CLIP, text_config=text)))
        model.save_pretrained(folder)
        return model.vision_model
    model = hub.randomise(CLIPVisionModel(CLIPVisionConfig(**CLIP)))
    model.save_pretrained(folder)
    if kind == "old":
        change(folder, _add_prefix)
    return model


def _add_prefix(state: dict[str, Any]) -> None:
    for name in list(state):
        state[f"vision_model.{name}"] = state.pop(name)


def save_qformer(folder: pathlib.Path, kind: str) -> Any:
    """A Q-Former: of BLIP-2 or InstructBLIP, or in a whole BLIP-2; returns it."""
    import transformers as hf

    if kind == "instruct":
        model = hf.InstructBlipQFormerModel(hf.InstructBlipQFormerConfig(**QFORMER))
    elif kind == "blip2":
        model = hf.Blip2QFormerModel(hf.Blip2QFormerConfig(**QFORMER))
    else:
        text = {
            "model_type": "opt", "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 20,
            "num_attention_heads": 2, "ffn_dim": 8, "word_embed_proj_dim": 8,
        }  # fmt: skip
        model = hf.Blip2ForConditionalGeneration(
            hf.Blip2Config(
                vision_config=CLIP, qformer_config=QFORMER, text_config=text, num_query_tokens=3
            )
        )
    hub.randomise(model).save_pretrained(folder)
    return model


def save_llava(folder: pathlib.Path) -> tuple[Any, Any, dict[str, Any]]:
    """The baseline's layout: LLaMA, CLIP and projector, stale buffers; two pickles, an index."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    llama = hub.hub_llama(WORDS)
    clip = hub.randomise(CLIPVisionModel(CLIPVisionConfig(**CLIP)))
    middle = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.GELU(), torch.nn.Linear(16, 16))
    projector = hub.randomise(middle)
    first = dict(llama.state_dict())
    for layer in range(2):
        first[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    second = {TOWER + name: value for name, value in clip.state_dict().items()}
    second[f"{TOWER}embeddings.position_ids"] = torch.arange(5)[None]
    second |= {f"model.mm_projector.{n}": v for n, v in projector.state_dict().items()}
    _save_pickles(folder, [first, second])
    config = llama.config.to_dict() | {
        "model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "vision_config": CLIP,
        "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch", "mm_hidden_size": 16, "image_aspect_ratio": "pad",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_tokenizer(folder)
    return llama, clip, projector


def _save_pickles(folder: pathlib.Path, states: list[dict[str, Any]]) -> None:
    import torch

    folder.mkdir()
    places = {}
    for number, state in enumerate(states, 1):
        file = f"pytorch_model-{number:05}-of-{len(states):05}.bin"
        torch.save(state, folder / file)
        places |= dict.fromkeys(state, file)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))


def change(folder: pathlib.Path, edit: Any) -> None:
    """Edits the tensors, a dict by name, of a folder with a single file."""
    file = folder / "model.safetensors"
    state = load_file(file)
    edit(state)
    save_file(state, file, {"format": "pt"})


def make_config(**paths: Any) -> Any:
    """`configs/imported.py` for these folders, in float32."""
    config = runpy.run_path(str(ROOT / "configs" / "imported.py"))["get_config"]()
    with config.unlocked():
        config.weights.update(dtype="float32", **{name: str(path) for name, path in paths.items()})
        config.data.update(frames=2, image_size=8, prompt_tokens=64, response_tokens=4)
        config.model.vision.update(width=16, layers=3, heads=4, mlp_width=20, patch_size=4)
        config.model.adapter.update(queries=3, width=8, layers=4, heads=2, mlp_width=12)
        config.model.language.update(width=16, layers=2, heads=4, kv_heads=4, mlp_width=20)
    return config
