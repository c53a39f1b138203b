"""Reads a saved tokenizer, with the ids that its model was trained with."""

import contextlib
import importlib.util
import pathlib
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from orl_jax.run.errors import UserError

_SUFFIXES = (".json", ".model", ".txt", ".jinja")
_LARGEST = 2**28  # bytes; that of LLaMA 3 takes 9 MB


def read_tokenizer(folder: str | pathlib.Path) -> PreTrainedTokenizerBase:
    """A saved tokenizer, unchanged. Nothing is ever downloaded.

    Args:
      folder: of a Hugging Face tokenizer or model, with `tokenizer.json`, a sentencepiece model
        `tokenizer.model` (which needs the package sentencepiece), or the files of another class.

    Raises:
      UserError: the folder holds no tokenizer, or one without an end token.

    Example: `read_tokenizer("vlm_sft_video_llava_7b")`, which has only a `tokenizer.model`.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"no tokenizer in {folder}: the folder does not exist")
    _check_files(folder)
    with _readable(folder):
        tokenizer = _read(folder)
        end, largest = tokenizer.eos_token_id, max(tokenizer.get_vocab().values(), default=-1)
        tokenizer("A text.")
    if not isinstance(end, int):
        raise UserError(
            f"the tokenizer in {folder} has no end token, so no answer could end: name one as "
            '"eos_token" in its tokenizer_config.json'
        )
    if largest >= len(tokenizer):
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens with ids up to {largest}; ids "
            "must be 0, 1, 2, … without gaps: copy its files again"
        )
    return tokenizer


def _check_files(folder: pathlib.Path) -> None:
    """The libraries read whatever has the right name: a FIFO for ever, a device until memory ends.

    Raises:
      UserError: such a thing, or a file that is too large.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix not in _SUFFIXES or not path.exists():
            continue
        if not path.is_file():
            raise UserError(f"{path} is not a file; copy the tokenizer again")
        if path.stat().st_size > _LARGEST:
            raise UserError(
                f"{path} is larger than the {_LARGEST} bytes that are read; copy it again"
            )


@contextlib.contextmanager
def _readable(folder: pathlib.Path) -> Iterator[None]:
    """Turns what the libraries raise over a damaged file, which is anything, into one line."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        # What goes wrong in Rust is a `PanicException`, which is no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"no tokenizer in {folder}; copy its tokenizer.json, or tokenizer.model, with "
            f"tokenizer_config.json ({reason})"
        ) from error


def _read(folder: pathlib.Path) -> PreTrainedTokenizerBase:
    """Reads the tokenizer's own file if there is one, otherwise by the class that the folder names.

    A model's class in transformers may rebuild the tokenizer with different ids: its LLaMA (5.24)
    ranks the merges of a `tokenizer.model` by id, not by score, and so splits "two  spaces" in
    another way than the model was trained with.
    """
    whole, pieces = (folder / name for name in ("tokenizer.json", "tokenizer.model"))
    if pieces.exists() and not whole.exists() and not importlib.util.find_spec("sentencepiece"):
        raise UserError(f"{pieces} needs the package sentencepiece: pip install sentencepiece")
    if whole.exists() or pieces.exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        if not whole.exists() and "add_bos_token" not in tokenizer.init_kwargs:
            tokenizer.add_bos_token = True  # the default of LLaMA's class: begin with <s>
        if tokenizer.eos_token_id is not None:
            return tokenizer  # without one, only the class knows the special tokens, as for GPT-2
    from transformers import AutoTokenizer  # only here: it imports torch, which takes seconds

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
