"""Questions and answers as arrays of token ids, and sampled ids as text."""

import copy
import textwrap
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from orl_jax.data.text.banned import banned_ids
from orl_jax.data.text.prompt import IMAGE_TOKEN, format_prompt, strip_all
from orl_jax.data.text.tokenizer_digest import digest
from orl_jax.data.text.tokenizer_traits import traits
from orl_jax.run.errors import UserError


class PromptEncoder:
    """Converts questions and answers to arrays of fixed length, and sampled ids to text.

    Args:
      tokenizer: has distinct end and padding tokens, and `<image>` (see `load_tokenizer`).
      visual_tokens: prompt positions of a video.
      prompt_length: L, visual tokens included.
      response_length: T, end token included.

    Attributes:
      image_id, pad_id, end_id: ids of the special tokens.
      vocabulary_size: V, exactly `len(tokenizer)`.
      banned_ids: bool [V], the ids that must never be sampled; see `orl_jax.data.text.banned`.

    Can be pickled, for worker processes.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        visual_tokens: int,
        prompt_length: int,
        response_length: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.visual_tokens = visual_tokens
        self.prompt_length = prompt_length
        self.response_length = response_length
        self.image_id = tokenizer.get_vocab()[IMAGE_TOKEN]
        self.pad_id = tokenizer.pad_token_id
        self.end_id = tokenizer.eos_token_id
        self.vocabulary_size = len(tokenizer)
        self.banned_ids = banned_ids(tokenizer)
        self._traits = traits(tokenizer)
        self._section = "data"  # of the config that sets the lengths

    @cached_property
    def digest(self) -> str:
        """Of the tokenizer's content; see `tokenizer_digest.digest`."""
        return digest(self.tokenizer)

    def resized(
        self, prompt_length: int, response_length: int, section: str = ""
    ) -> "PromptEncoder":
        """The same encoder with other lengths, which `section` of the config sets."""
        other = copy.copy(self)
        other._section = section or self._section
        other.prompt_length, other.response_length = prompt_length, response_length
        return other

    def prompt_size(self, question: str) -> int:
        """Number of tokens of a question's prompt, visual tokens included, without a limit."""
        return len(self._prompt(question))

    def response_size(self, answer: str) -> int:
        """Number of tokens of an answer, its end included, without a limit."""
        return len(self._answer(answer)) + 1

    def encode_prompt(self, question: str) -> tuple[np.ndarray, np.ndarray]:
        """The prompt of a question, padded on the left.

        As in the baseline (`tokenizer_image_token` in yonseivnl/vlm-rlaif), the template is split
        at `<image>` and its parts are tokenised separately; `visual_tokens` copies of the `<image>`
        id go between them, and `<s>` at the start if the tokenizer puts it there. Special tokens in
        the question are dropped.

        Returns:
          ids int32 [L] and mask bool [L] (True for tokens, False for padding).

        Raises:
          UserError: the prompt has more than L tokens.
        """
        ids = self._prompt(question)
        if len(ids) > self.prompt_length:
            shown = textwrap.shorten(question, 80, placeholder=" …")
            raise UserError(
                f'the prompt of "{shown}" has {len(ids)} tokens, {self.visual_tokens} of them '
                f"visual; config.{self._section}.prompt_tokens is {self.prompt_length}: "
                f"shorten the question or set it to {len(ids)} or more"
            )
        padding = self.prompt_length - len(ids)
        mask = np.arange(self.prompt_length) >= padding
        return np.array([self.pad_id] * padding + ids, np.int32), mask

    def encode_opening(self) -> tuple[np.ndarray, np.ndarray]:
        """The beginning of every prompt, visual tokens included; `encode_turn` gives the rest.

        Questions about one video share it. Returns ids int32 [O] and an all-true mask.
        """
        before, _ = format_prompt("").split(IMAGE_TOKEN)
        ids = self._opening(before)
        return np.array(ids, np.int32), np.ones(len(ids), bool)

    def encode_turn(self, question: str, answer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What follows the opening: the question, the answer and the end token.

        Opening and turn together are exactly the tokens of `encode_prompt` and `encode_response`,
        without padding between them.

        Returns:
          ids int32 [U], padded on the right, U = L - O + T; mask bool [U], True for tokens; and
          targets bool [U], True for the tokens of the answer.

        Raises:
          UserError: as `encode_prompt` and `encode_response`.
        """
        opening = len(self.encode_opening()[0])
        prompt, prompt_mask = self.encode_prompt(question)
        response, response_mask = self.encode_response(answer)
        asked = prompt[prompt_mask][opening:]
        ids = np.concatenate([asked, response[response_mask]])
        padding = self.prompt_length - opening + self.response_length - len(ids)
        places = np.arange(len(ids) + padding)
        mask = places < len(ids)
        ids = np.concatenate([ids, np.full(padding, self.pad_id)]).astype(np.int32)
        return ids, mask, mask & (places >= len(asked))

    def encode_response(self, answer: str) -> tuple[np.ndarray, np.ndarray]:
        """An answer and the end token, padded on the right. Special tokens in it are dropped.

        Returns:
          ids int32 [T] and mask bool [T] (True for tokens, the end token included).

        Raises:
          UserError: they are more than T tokens, or one of them is never sampled: the loss of such
            an answer would be astronomical, and nothing could be learned from it.
        """
        ids = [*self._answer(answer), self.end_id]
        if self.banned_ids[ids].any():
            token = next(i for i in ids if self.banned_ids[i])
            raise UserError(
                f"the answer {answer!r:.80} holds a word that the model can never say: the "
                f"tokenizer makes it {self.tokenizer.convert_ids_to_tokens(token)!r}; set "
                "config.data.tokenizer to one that knows the word, or correct the answer"
            )
        if len(ids) > self.response_length:
            raise UserError(
                f'the answer "{answer}" has {len(ids)} tokens with its end; '
                f"config.{self._section}.response_tokens is {self.response_length}: "
                f"set it to {len(ids)} or more"
            )
        padding = self.response_length - len(ids)
        mask = np.arange(self.response_length) < len(ids)
        return np.array(ids + [self.pad_id] * padding, np.int32), mask

    def encode_sampled(
        self, text: str, truncated: bool, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A sampled answer, padded on the right: the inverse of `decode`.

        A truncated answer has no end token. An answer longer than `length` is cut, not refused, as
        it is data and not a user's mistake.

        Returns:
          ids int32 [length] and mask bool [length] (True for tokens, the end token included).
        """
        end = [] if truncated else [self.end_id]
        ids = [*self._answer(text), *end][:length]
        mask = np.arange(length) < len(ids)
        return np.array(ids + [self.pad_id] * (length - len(ids)), np.int32), mask

    def decode(self, ids: np.ndarray) -> tuple[str, bool]:
        """The text of a response, up to its first end token.

        Args:
          ids: int [T], a response without its prompt.

        Returns:
          The text, without special tokens and surrounding white space, and whether it is truncated,
          that is, has no end token.

        Example: `decode(encode_response("Two.")[0]) == ("Two.", False)`.
        """
        ids = np.asarray(ids).tolist()
        truncated = self.end_id not in ids
        if not truncated:
            ids = ids[: ids.index(self.end_id)]
        text = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip(), truncated

    def word_ids(self, words: list[str]) -> list[list[int]]:
        """The ids of words, each as it is tokenised within a text, without special tokens."""
        words = [strip_all(word, self._traits.markers) for word in words]
        if not words:
            return []
        spaced = [self._traits.space + word for word in words]
        return self.tokenizer(spaced, add_special_tokens=False)["input_ids"]

    def _prompt(self, question: str) -> list[int]:
        before, after = format_prompt(strip_all(question, self._traits.markers)).split(IMAGE_TOKEN)
        return self._opening(before) + self._tokens(after)

    def _opening(self, before: str) -> list[int]:
        image = [self.image_id] * self.visual_tokens
        return self._traits.opening + self._tokens(before) + image

    def _answer(self, text: str) -> list[int]:
        """Ids that continue a prompt to "ASSISTANT: answer"; none for an empty answer."""
        text = strip_all(text, self._traits.markers)
        return self._tokens(self._traits.space + text) if text else []

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
