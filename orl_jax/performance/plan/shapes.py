"""The arrays of a run as shapes with shardings; nothing is allocated."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from orl_jax.models import assembly as assemblies
from orl_jax.models.params import masters, partition, policy_of
from orl_jax.models.sequences import Prompt
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.sharding.mesh import make_mesh
from orl_jax.models.value import initial_head
from orl_jax.models.vlm import VLM
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.run.errors import UserError
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer, make_schedule
from orl_jax.training.state import TrainState

LLAMA_VOCABULARY = 32002  # LLaMA's 32,000 tokens, padding and <image>
OPENING_TOKENS = 38  # before the video in every prompt, with LLaMA's tokenizer


@dataclasses.dataclass(frozen=True)
class Tokens:
    """A stand-in for a `PromptEncoder` where no tokenizer is available.

    Attributes: those of the encoder, and `opening`, the number of tokens before the question.
    """

    vocabulary_size: int
    prompt_length: int
    response_length: int
    opening: int
    end_id: int = 2

    @property
    def pad_id(self) -> int:
        """The last id but one, where `load_tokenizer` adds it."""
        return self.vocabulary_size - 2

    @property
    def image_id(self) -> int:
        """The last id."""
        return self.vocabulary_size - 1

    def encode_prompt(self, _: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of a prompt."""
        return np.zeros(self.prompt_length, np.int32), np.ones(self.prompt_length, bool)

    def encode_opening(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of the common beginning of all prompts."""
        return np.zeros(self.opening, np.int32), np.ones(self.opening, bool)


def tokens_of(config: ConfigDict, vocabulary: int) -> Any:
    """The config's prompt encoder, or a stand-in where its tokenizer is not available.

    Args:
      vocabulary: number of tokens of the stand-in.

    Raises:
      UserError: prompts that are too short for a video.
    """
    data, video = config.data, VlmSettings.from_config(config).visual_tokens
    if video >= data.prompt_tokens:
        raise UserError(
            f"config.data.prompt_tokens is {data.prompt_tokens}, and a video takes {video} of "
            f"them; set it to {video + 128} or more"
        )
    folder = data.tokenizer or pathlib.Path(data.folder) / "tokenizer"
    if pathlib.Path(folder).is_dir():
        return assemblies.load_encoder(config)
    opening = min(video + OPENING_TOKENS, data.prompt_tokens)
    return Tokens(vocabulary, data.prompt_tokens, data.response_tokens, opening)


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The shapes of a config's arrays. A plan or a benchmark makes them; they read its config.

    Attributes:
      config: the whole config.
      tokens: a prompt encoder, or a stand-in for one.
      devices: that hold the arrays.
    """

    config: ConfigDict
    tokens: Any
    devices: Sequence[Any]

    @cached_property
    def layout(self) -> Layout:
        """The layout of `config.mesh`.

        Raises:
          UserError: a mesh that does not use all devices.
        """
        return Layout(make_mesh(dict(self.config.mesh), self.devices))

    @cached_property
    def settings(self) -> VlmSettings:
        """The settings of the model."""
        return VlmSettings.from_config(self.config)

    @cached_property
    def assembly(self) -> assemblies.Assembly:
        """The model with adapters, the stand-in of its encoder, and the layout."""
        return self._assembled(self.model(lora=True))

    def _assembled(self, model: VLM) -> assemblies.Assembly:
        return assemblies.Assembly(model, self.tokens, self.layout, self.settings.param_dtype)

    def model(self, *, lora: bool, quantisation: str = "") -> VLM:
        """The model.

        Args:
          quantisation: replaces the config's, for all parts.
        """
        settings = self.settings.quantised(quantisation) if quantisation else self.settings
        tokens = self.tokens
        return settings.build(
            vocabulary=tokens.vocabulary_size, image_id=tokens.image_id, lora=lora
        )

    def params(self, model: VLM) -> dict[str, Any]:
        """All parameters as in a run: frozen ones in `model.param_dtype`, or quantised codes."""
        shapes = assemblies.shapes_of_params(model, self.settings.param_dtype)
        tree = unflatten_dict(shapes, sep="/")
        return self.placed(tree, self.layout.params(tree))

    def split(self, model: VLM, rules: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Trained parameters, in float32, and frozen ones."""
        trained, frozen = partition(self.params(model), rules)
        tree = jax.eval_shape(masters, trained)
        return self.placed(tree, self.layout.params(tree)), frozen

    def state(self, trained: dict[str, Any], section: ConfigDict, *, reference: bool) -> TrainState:
        """A stage's state before its first step, like that of `training.state.start`.

        Args:
          section: of the stage, for its optimiser.
        """
        optimizer, layout = self.optimizer(section), self.layout
        moments = self.placed(
            jax.eval_shape(optimizer.init, trained), layout.optimizer_state(optimizer, trained)
        )
        copy = jax.tree.map(lambda leaf: leaf.update(), policy_of(trained)) if reference else {}
        return TrainState(
            self.whole((), jnp.int32), trained, copy, moments, self.whole((2,), jnp.uint32)
        )

    def optimizer(self, section: ConfigDict) -> Any:
        """The optimiser of a stage; shapes do not depend on its number of steps."""
        settings = OptimizerSettings.of(section)
        return make_optimizer(settings, make_schedule(settings, max(section.steps, 1)))

    def value_model(self, policy: dict[str, Any]) -> dict[str, Any]:
        """PPO's value model: a copy of the policy and a head."""
        head = jax.eval_shape(partial(initial_head, self.config.model.language.width))
        copy = jax.tree.map(lambda leaf: leaf.update(), policy)
        places = jax.tree.map(lambda _: self.layout.whole, head)
        return {**copy, "head": self.placed(head, places)}

    def placed(self, tree: Any, places: Any) -> Any:
        """Adds shardings to shapes."""
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            tree, places,
        )  # fmt: skip

    def result(self, function: Callable[..., Any], *args: Any) -> Any:
        """The shapes of a function's result."""
        with self.mesh_set():
            return jax.eval_shape(function, *args)

    def mesh_set(self) -> contextlib.AbstractContextManager[Any]:
        """The mesh context in which `Layout.jit` traces a function."""
        mesh = self.layout.mesh
        return jax.set_mesh(mesh) if mesh.size > 1 else contextlib.nullcontext()

    def video(self, rows: int) -> jax.ShapeDtypeStruct:
        """Frames of a batch."""
        data = self.config.data
        shape = (rows, data.frames, data.image_size, data.image_size, 3)
        return self.rows(shape, jnp.uint8)

    def prompt(self, rows: int) -> Prompt:
        """A batch of prompts."""
        shape = (rows, self.config.data.prompt_tokens)
        return Prompt(self.rows(shape, jnp.int32), self.rows(shape, bool))

    def rows(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """A batch, sharded by rows."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self.layout.batch)

    def whole(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """A replicated array."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self.layout.whole)


def bytes_per_device(tree: Any) -> int:
    """Bytes that one device holds of arrays, or of shapes with shardings.

    An array that occurs several times counts once.
    """
    leaves = {id(leaf): leaf for leaf in jax.tree.leaves(tree)}.values()
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves
    )
