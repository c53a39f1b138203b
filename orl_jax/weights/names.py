"""Tables that map our parameters to other libraries' tensors, one table per model family.

A `Row` pairs one of our paths (layers stacked on a leading axis) with the name of their tensor, in
which "{layer}" is the number of the layer:

    Row("language/layers/q/kernel", "model.layers.{layer}.self_attn.q_proj.weight", "transpose")

Names are those of `transformers` (LlamaForCausalLM, CLIPVisionModel, Blip2QFormerModel,
InstructBlipQFormerModel) and of LLaVA (haotian-liu/LLaVA, yonseivnl/vlm-rlaif).
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

# Our projections, which LoRA adapts, and their modules in LLaMA.
PROJECTIONS = {
    **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")},
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}


# The prefix of CLIP's names in LLaVA's folders.
LLAVA_TOWER = "model.vision_tower.vision_tower.vision_model."


class Row(NamedTuple):
    """One of our parameters and the tensors that make it up.

    Attributes:
      ours: its path; a path with "/layers/" has the layers as its leading axis.
      theirs: the tensor's name; "{layer}" stands for `first + stride * i` in our layer i.
      form: "same" | "transpose" ([out, in] to [in, out]) | "patches" (a convolution [D, 3, p, p]
        over patches to a kernel [p * p * 3, D]) | "first" (drops a leading axis of size 1).
      first, stride: see `theirs`.
    """

    ours: str
    theirs: str
    form: str = "same"
    first: int = 0
    stride: int = 1

    @property
    def stacked(self) -> bool:
        """Whether there is one tensor per layer."""
        return "{layer}" in self.theirs

    def name(self, layer: int) -> str:
        """The name of the tensor for our layer `layer`.

        Example: `Row("a/layers/b", "h.{layer}.b", first=1, stride=2).name(3) == "h.7.b"`.
        """
        return self.theirs.replace("{layer}", str(self.first + self.stride * layer))


class Table(NamedTuple):
    """The rows of a model family.

    Attributes:
      rows: what to read; the number of layers comes from the model's shapes.
      unused: regular expressions that match whole names of tensors which such folders hold and
        this model does not use.
      fresh: regular expressions that match our whole paths of parameters which such folders never
        hold; they are initialised at random.
    """

    rows: tuple[Row, ...]
    unused: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


def llama(*, tied: bool = False) -> Table:
    """`LlamaForCausalLM`: LLaMA-1/2/3, Vicuna, TinyLlama, SmolLM2.

    Tied embeddings need no `lm_head`; a folder that holds one all the same holds a copy.
    """
    layer = "model.layers.{layer}"
    rows = (
        Row("language/embedding", "model.embed_tokens.weight"),
        Row("language/norm/scale", "model.norm.weight"),
        Row("language/layers/attention_norm/scale", f"{layer}.input_layernorm.weight"),
        Row("language/layers/mlp_norm/scale", f"{layer}.post_attention_layernorm.weight"),
        *(
            Row(f"language/layers/{ours}/kernel", f"{layer}.{theirs}.weight", "transpose")
            for ours, theirs in PROJECTIONS.items()
        ),
    )
    unused = (
        r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
        r"model\.rotary_emb\.inv_freq",
    )
    if tied:
        return Table(rows, (*unused, r"lm_head\.weight"))
    return Table((*rows, Row("language/lm_head", "lm_head.weight", "transpose")), unused)


def clip_vision(prefix: str = "") -> Table:
    """`CLIPVisionModel`, and the vision half of `CLIPModel`.

    Args:
      prefix: of the names: "" (transformers 5), "vision_model." (older folders, and those on the
        hub) or `LLAVA_TOWER`.

    The layers above the selected one, the norm after them and CLIP's text model are unused by
    design.
    """
    layer = f"{prefix}encoder.layers.{{layer}}"
    rows = (
        Row("vision/class_embedding", f"{prefix}embeddings.class_embedding"),
        Row(
            "vision/patch_embedding/kernel", f"{prefix}embeddings.patch_embedding.weight", "patches"
        ),
        Row("vision/position_embedding", f"{prefix}embeddings.position_embedding.weight"),
        *_norm("vision/pre_norm", f"{prefix}pre_layrnorm"),
        *_norm("vision/layers/attention_norm", f"{layer}.layer_norm1"),
        *_norm("vision/layers/mlp_norm", f"{layer}.layer_norm2"),
        *_dense("vision/layers/up", f"{layer}.mlp.fc1"),
        *_dense("vision/layers/down", f"{layer}.mlp.fc2"),
        *itertools.chain.from_iterable(
            _dense(f"vision/layers/attention/{ours}", f"{layer}.self_attn.{ours}_proj")
            for ours in ("q", "k", "v", "out")
        ),
    )
    escaped = prefix.replace(".", r"\.")
    return Table(
        rows,
        (
            rf"{escaped}embeddings\.position_ids",
            rf"{escaped}post_layernorm\.(weight|bias)",
            rf"{escaped}encoder\.layers\.\d+\."
            r"(layer_norm[12]|self_attn\.(q|k|v|out)_proj|mlp\.fc[12])\.(weight|bias)",
            r"text_model\..*",
            r"(text|visual)_projection\.weight",
            r"logit_scale",
        ),
    )


def qformer(
    cross_frequency: int, *, prefix: str = "", norm: str = "layernorm", queries: str = ""
) -> Table:
    """`Blip2QFormerModel` or, with `norm="embeddings.layernorm"`, `InstructBlipQFormerModel`.

    The text half of a Q-Former (word embeddings, a second MLP) is unused: only queries pass through
    it here.

    Args:
      cross_frequency: one in this many layers has cross-attention.
      prefix: of the names, where the Q-Former is part of a whole BLIP-2; the rest is unused.
      norm: name of the norm before the first layer.
      queries: name of the queries' tensor. A bare Q-Former has none, and they are then fresh. The
        linear layers around it and the parameters for features of single frames always are.
    """
    body = "adapter/qformer"
    rows = [*_norm(f"{body}/norm", f"{prefix}{norm}")]
    if queries:
        rows.append(Row(f"{body}/queries", queries, "first"))
    for index in range(cross_frequency):
        layer, place = f"{prefix}encoder.layer.{{layer}}", (index, cross_frequency)
        rows += _bert_attention(f"{body}/layers/self_{index}", f"{layer}.attention", *place)
        rows += _dense(f"{body}/layers/up_{index}", f"{layer}.intermediate_query.dense", *place)
        rows += _dense(f"{body}/layers/down_{index}", f"{layer}.output_query.dense", *place)
        rows += _norm(f"{body}/layers/mlp_norm_{index}", f"{layer}.output_query.LayerNorm", *place)
        if index == 0:
            rows += _bert_attention(f"{body}/layers/cross", f"{layer}.crossattention", *place)
    escaped = prefix.replace(".", r"\.")
    unused = (
        rf"{escaped}embeddings\.(word|position)_embeddings\.weight",
        rf"{escaped}embeddings\.position_ids",
        rf"{escaped}encoder\.layer\.\d+\.(intermediate\.dense|output\.(dense|LayerNorm))"
        r"\.(weight|bias)",
    )
    if prefix:
        unused = (*unused, rf"(?!{escaped}).*")
    fresh = "adapter/(qformer/queries|time_embedding|feature_norm/.*|project_(in|out)/.*)"
    return Table(tuple(rows), unused, (fresh,))


def projector() -> Table:
    """LLaVA's `mlp2x_gelu`, for the `pool` adapter."""
    return Table(
        (
            *_dense("adapter/project_in", "model.mm_projector.0"),
            *_dense("adapter/project_out", "model.mm_projector.2"),
        )
    )


def llava(tower: str | None = LLAVA_TOWER, *, tied: bool = False) -> Table:
    """The baseline's merged checkpoint: LLaMA, the projector and, if included, CLIP.

    Args:
      tower: prefix of CLIP's names; None where the folder holds no CLIP.
      tied: see `llama`.
    """
    parts = [llama(tied=tied), projector()]
    if tower is not None:
        parts.append(clip_vision(tower))
    return Table(*(tuple(itertools.chain(*fields)) for fields in zip(*parts, strict=True)))


def _dense(ours: str, theirs: str, first: int = 0, stride: int = 1) -> Iterator[Row]:
    yield Row(f"{ours}/kernel", f"{theirs}.weight", "transpose", first, stride)
    yield Row(f"{ours}/bias", f"{theirs}.bias", "same", first, stride)


def _norm(ours: str, theirs: str, first: int = 0, stride: int = 1) -> Iterator[Row]:
    yield Row(f"{ours}/scale", f"{theirs}.weight", "same", first, stride)
    yield Row(f"{ours}/bias", f"{theirs}.bias", "same", first, stride)


def _bert_attention(ours: str, theirs: str, first: int, stride: int) -> Iterator[Row]:
    modules = {"q": "attention.query", "k": "attention.key", "v": "attention.value"}
    for name, module in {**modules, "out": "output.dense"}.items():
        yield from _dense(f"{ours}_attention/{name}", f"{theirs}.{module}", first, stride)
    yield from _norm(f"{ours}_norm", f"{theirs}.output.LayerNorm", first, stride)
