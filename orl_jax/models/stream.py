"""Streaming: one answer token by token as it is sampled, and its text piece by piece.

The steps are those of `sampler.sample` with a group of one. There they run in a compiled loop; here
each is a separate call, so that the host sees a token as soon as it is drawn. The state of a step
(mostly the cache) is donated: it is updated in place, not copied.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.models.sampler import LoopState, Prefix, begin, decode_token
from orl_jax.models.sequences import Prompt
from orl_jax.models.vlm import VLM

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # for bytes that are not (yet) a character


class Streamer:
    """Streams answers to any number of prompts; compiled once for each length of prompt.

    Args:
      model, params: see `VLM`.
      banned: bool [V], tokens that are never sampled.
      max_tokens: T, the most tokens of an answer, and the length of its cache.
      temperature: 0 takes the most likely token.
      end_id, pad_id: the end-of-sequence token, and padding.
    """

    def __init__(
        self,
        model: VLM,
        params: dict[str, Any],
        banned: Bool[Array, " V"],
        *,
        max_tokens: int,
        temperature: float,
        end_id: int,
        pad_id: int,
    ) -> None:
        self._params = params
        self._banned = banned
        self._max_tokens = max_tokens
        self._end_id = end_id
        self._begin = jax.jit(
            partial(begin, model, group_size=1, max_tokens=max_tokens, pad_id=pad_id)
        )
        ids = {"end_id": end_id, "pad_id": pad_id}
        step = partial(_step, model, temperature=temperature, **ids)
        self._step = jax.jit(step, donate_argnames="state")

    def stream(
        self,
        visual: Float[Array, "1 N D"],
        prompt: Prompt,
        key: PRNGKeyArray,
    ) -> Iterator[int]:
        """Yields the ids of one answer, up to and including the end token if there is one.

        Args:
          visual: visual tokens of the video.
          prompt: one prompt, as a batch of one.
          key: of the noise; the tokens are those of `sample` with the same key and one response.

        Example: `list(streamer.stream(visual, Prompt(ids[None], mask[None]), jax.random.key(0)))`.
        """
        prefix, state = self._begin(self._params, visual, prompt)
        for _ in range(self._max_tokens):
            state, drawn = self._step(self._params, self._banned, key, prefix, state)
            token = int(jax.device_get(drawn))
            yield token
            if token == self._end_id:
                return


def _step(
    model: VLM,
    params: dict[str, Any],
    banned: Bool[Array, " V"],
    key: PRNGKeyArray,
    prefix: Prefix,
    state: LoopState,
    **settings: Any,
) -> tuple[LoopState, Int[Array, ""]]:
    """The state after one more token, and that token."""
    new = decode_token(model, params, banned, key, prefix, state, **settings)
    return new, new.responses.ids[0, 0, state.step]


def text_pieces(encoder: PromptEncoder, tokens: Iterable[int]) -> Iterator[str]:
    """The text of an answer as it grows: `encoder.decode` of all tokens, in pieces.

    A token may be one byte of a character. A piece is held back until its last character is
    complete; a character that is still incomplete at the end of the answer is dropped.

    Args:
      encoder: decodes; special tokens and surrounding white space are dropped.
      tokens: ids of one answer, for example of `Streamer.stream`.

    Example: `list(text_pieces(encoder, encoder.encode_response("Two.")[0])) == ["Two", "."]`.
    """
    ids: list[int] = []
    shown = 0
    text = ""
    for token in tokens:
        ids.append(token)
        # Decode all of it again: a token may depend on those before it (a space, a byte).
        text = encoder.decode(ids)[0]
        if len(text) > shown and not text.endswith(_REPLACEMENT):
            yield text[shown:]
            shown = len(text)
    if rest := text[shown:].rstrip(_REPLACEMENT):
        yield rest
