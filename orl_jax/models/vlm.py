"""The video-language model on one page: CLIP encoder, adapter, LLaMA.

    frames -> encode -> features -> adapt -> visual tokens -> prefill (with the prompt) -> respond

Each step is a method for `VLM.apply({"params": params}, ..., method=...)`, pure in its parameters.
The prompt's ids hold one `<image>` id for each visual token; the embeddings there are replaced.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt8

from orl_jax.models.llama import Llama, Segment
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vision import ClipVision, normalise


class VLM(nn.Module):
    """Three modules and the id of the `<image>` token.

    Example: `VlmSettings.from_config(config).build(vocabulary=130, image_id=5, lora=True)`; see
      `orl_jax.models.vlm_settings`.
    """

    vision: ClipVision
    adapter: nn.Module
    language: Llama
    image_id: int

    def encode(self, frames: UInt8[Array, "B F H W 3"]) -> Float[Array, "B F P E"]:
        """Patch features of every frame."""
        batch, count = frames.shape[:2]
        size = self.vision.frames_at_a_time or count
        parts = frames.reshape(batch, count // size, size, *frames.shape[2:])
        scan = nn.scan(
            VLM._encode, variable_broadcast="params", split_rngs={"params": False},
            in_axes=1, out_axes=1,
        )  # fmt: skip
        features = scan(self, None, parts)[1] if size < count else self._encode(None, frames)[1]
        return features.reshape(batch, count, *features.shape[-2:])

    def _encode(
        self, _: None, frames: UInt8[Array, "B f H W 3"]
    ) -> tuple[None, Float[Array, "B f P E"]]:
        """A scan body without a carry."""
        batch, count = frames.shape[:2]
        features = self.vision(normalise(frames.reshape(batch * count, *frames.shape[2:])))
        return None, features.reshape(batch, count, *features.shape[1:])

    def adapt(self, features: Float[Array, "B F P E"]) -> Float[Array, "B N D"]:
        """Visual tokens in the language model's width."""
        return self.adapter(features)

    def see(self, frames: UInt8[Array, "B F H W 3"]) -> Float[Array, "B N D"]:
        """Frames to visual tokens; no gradient reaches the encoder, so nothing is kept for it."""
        return self.adapt(jax.lax.stop_gradient(self.encode(frames)))

    def prefill(
        self,
        visual: Float[Array, "B N D"],
        prompt: Prompt,
    ) -> tuple[Float[Array, "B D"], Segment]:
        """Reads the left-padded prompts.

        Returns the hidden state of each last token, and the prompt's keys and values as a segment
        that the group shares (group axis 1).
        """
        x = self.embed_prompt(visual, prompt.ids)
        positions = jnp.maximum(jnp.cumsum(prompt.mask, axis=1) - 1, 0)
        hidden, segment = self.language(
            x[:, None], positions[:, None], prompt.mask[:, None], last_only=True
        )
        return hidden[:, 0, 0], segment

    def embed_prompt(
        self, visual: Float[Array, "B N D"], prompt_ids: Int[Array, "B L"]
    ) -> Float[Array, "B L D"]:
        """Token embeddings with the visual tokens in place of the `<image>` ids, in order."""
        is_image = prompt_ids == self.image_id
        order = jnp.clip(jnp.cumsum(is_image, axis=1) - 1, 0, visual.shape[1] - 1)
        spread = jnp.take_along_axis(visual, order[..., None], axis=1)
        return jnp.where(is_image[..., None], spread, self.language.embed(prompt_ids))

    def respond(
        self,
        last_hidden: Float[Array, "B D"],
        prefix: Segment,
        responses: Responses,
    ) -> Float[Array, "B G T D"]:
        """Hidden states that predict each response token, given the prefilled prompt.

        The first token is predicted by the prompt's last hidden state, the others by the responses.
        """
        batch, group, length = responses.ids.shape
        first = jnp.broadcast_to(
            last_hidden[:, None, None], (batch, group, 1, *last_hidden.shape[1:])
        )
        if length == 1:
            return first
        positions = prefix.mask.sum(axis=-1)[..., None] + jnp.arange(length - 1)
        positions = jnp.broadcast_to(positions, (batch, group, length - 1))
        x = self.language.embed(responses.ids[..., :-1])
        hidden, _ = self.language(x, positions, responses.mask[..., :-1], (prefix,))
        return jnp.concatenate([first, hidden], axis=2)

    def hidden_states(
        self, visual: Float[Array, "B N D"], prompt: Prompt, responses: Responses
    ) -> Float[Array, "B G T D"]:
        """`prefill`, then `respond`: the teacher-forced forward of SFT and of the RL update."""
        last_hidden, prefix = self.prefill(visual, prompt)
        return self.respond(last_hidden, prefix, responses)

    def decode(
        self,
        token: Int[Array, "B G"],
        position: Int[Array, "B G"],
        past: tuple[Segment, ...],
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "B G D"], Segment]:
        """One decoding step: the hidden state after `token`, and the last segment of `past` with
        the token's keys and values written at `step`.
        """
        x = self.language.embed(token)[:, :, None]
        mask = jnp.ones((*token.shape, 1), bool)
        hidden, segment = self.language(x, position[..., None], mask, past, step=step)
        return hidden[:, :, 0], segment

    def vocabulary_kernel(self) -> Float[Array, "D V"]:
        """The projection from hidden states to logits."""
        return self.language.vocabulary_kernel()

    def __call__(self, frames: UInt8[Array, "B F H W 3"], prompt: Prompt) -> Float[Array, "B V"]:
        """Logits after the prompt. Uses every parameter once, to initialise them."""
        visual = self.adapt(self.encode(frames))
        last_hidden, _ = self.prefill(visual, prompt)
        return last_hidden @ self.vocabulary_kernel()
