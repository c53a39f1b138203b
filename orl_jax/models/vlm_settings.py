"""What a model is built from: its configured modules, before the vocabulary is known."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from orl_jax.models.llama import Llama
from orl_jax.models.pooling import PoolAdapter
from orl_jax.models.qformer import QFormerAdapter
from orl_jax.models.vision import ClipVision
from orl_jax.models.vlm import VLM
from orl_jax.run.errors import UserError

_POOL = ("dtype", "quantisation", "quantisation_block")  # what a PoolAdapter reads of its section


@dataclasses.dataclass(frozen=True)
class VlmSettings:
    """See the module.

    Attributes:
      vision, adapter: as they are in the model.
      language: its vocabulary and `lora_rank` do not count; `build` sets them.
      lora_rank: of the adapters, where a stage has any.
      param_dtype: of fresh frozen parameters, "float32" or "bfloat16".

    Example, without a config file (widths must fit each other: the adapter's `language_width` is
    the language model's `width`):

        settings = VlmSettings(
            ClipVision(width=16, layers=2, heads=2, mlp_width=32, patch_size=16, image_size=32),
            PoolAdapter(frames=3, patches=4, language_width=16),
            Llama(vocabulary=0, width=16, layers=2, heads=2, kv_heads=1, mlp_width=32),
            lora_rank=4,
        )
        model = settings.build(vocabulary=130, image_id=5, lora=True)
    """

    vision: ClipVision
    adapter: QFormerAdapter | PoolAdapter
    language: Llama
    lora_rank: int = 8
    param_dtype: str = "float32"

    @classmethod
    def from_config(cls, config: ConfigDict) -> "VlmSettings":
        """Reads `config.model`, whose sections are the modules' fields by name, and `frames` and
        `image_size` of `config.data`.

        Raises:
          UserError: a section or key is missing, or there is one that no module has.
        """
        try:
            return cls._read(config)
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            what = str(error).replace("__init__() ", "")
            raise UserError(f"config.model does not describe a model: {what:.200}") from error

    @classmethod
    def _read(cls, config: ConfigDict) -> "VlmSettings":
        model, data = config.model, config.data
        vision = ClipVision(image_size=data.image_size, **model.vision)
        language = Llama(vocabulary=0, lora_alpha=model.lora.alpha, **model.language)
        adapter: dict[str, Any] = dict(model.adapter)
        name = adapter.pop("name")
        shared = {"frames": data.frames, "language_width": language.width}
        if name == "qformer":
            built = QFormerAdapter(**shared, **adapter)
        else:
            own = {key: adapter[key] for key in _POOL}
            built = PoolAdapter(**shared, patches=vision.patches, **own)
        return cls(vision, built, language, model.lora.rank, model.param_dtype)

    @property
    def visual_tokens(self) -> int:
        """Number of prompt positions that a video takes."""
        return self.adapter.visual_tokens

    def quantised(self, kind: str) -> "VlmSettings":
        """The same modules with kernels stored as `kind`: none | nf4 | int8.

        Example: `settings.quantised("none")` has the shapes of folders that others publish.
        """
        parts = (self.vision, self.adapter, self.language)
        vision, adapter, language = (part.clone(quantisation=kind) for part in parts)
        return dataclasses.replace(self, vision=vision, adapter=adapter, language=language)

    def build(self, *, vocabulary: int, image_id: int, lora: bool) -> VLM:
        """The model.

        Args:
          vocabulary: number of token ids.
          image_id: id of the `<image>` token.
          lora: whether the language model has adapters; without them it is trained whole.
        """
        language = self.language.clone(
            vocabulary=vocabulary, lora_rank=self.lora_rank if lora else 0
        )
        return VLM(self.vision, self.adapter, language, image_id)
