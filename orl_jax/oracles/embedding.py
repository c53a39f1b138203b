"""The Oracle that orders answers by their similarity in meaning to the accepted ones.

A sentence model turns texts into vectors. An answer's score is the cosine of its vector and that of
the reference or a paraphrase, whichever is nearest. Without references it can be the mean cosine
with the group's other answers (agreement as evidence: minimum Bayes risk, Kumar and Byrne 2004) or
the cosine with the question. As with the `reference` Oracle, truncated answers come below complete
ones; a complete answer scores in [-1, 1], a truncated one in [-2.5, -1.5]. A blank answer has the
lowest similarity. Scores are rounded to `DIGITS`, below which they vary with the batch, so that
answers which the model cannot distinguish are tied.

Similarity is not truth: by all-MiniLM-L6-v2 "The circle is not red." (0.89) is nearer to "The
circle is red." than "It is red." (0.73) is, and "The circle is blue." (0.69) is also near. For
short factual answers the `reference` Oracle is the better judge; this one suits answers that can be
right in many forms.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError

Encode = Callable[[list[str]], np.ndarray]  # texts to float [texts, width], each of length 1
NEAR = ("reference", "others", "question")
DIGITS = 4
KEPT = 50_000  # texts whose vectors are kept: 77 MB at a width of 384


@dataclasses.dataclass(frozen=True)
class Settings:
    """The section `oracle.embedding`; `configs/oracles.py` explains the keys."""

    model: str = ""
    batch_size: int = 64
    near: str = "reference"


class EmbeddingOracle:
    """See the module.

    Args:
      encode: the sentence model, from distinct texts to their vectors, float [texts, width], of
        length 1; see `load_encoder`. Called once per call of `rank`, for the texts that are new.
      near: what answers are compared with: "reference", "others" (the group's other answers) or
        "question".
      kept: the most texts whose vectors are kept.

    Raises:
      UserError: an unknown `near`.

    Example: for the reference "It leaps." the ranks of ("It jumps.", "A red car.") are (0.0, 1.0).
    """

    def __init__(self, encode: Encode, near: str = "reference", kept: int = KEPT):
        if near not in NEAR:
            raise UserError(f"oracle.embedding.near is {near!r}; choose one of {', '.join(NEAR)}")
        self._encode, self._near, self._kept = encode, near, kept
        self._vectors: dict[str, np.ndarray] = {}

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request, with scores; invalid where a request has no reference."""
        known = [request for request in requests if self._targets(request)]
        texts = (text for r in known for text in (*r.responses, *self._targets(r)))
        vectors = self._look_up(dict.fromkeys(text for text in texts if text.strip()))
        return [self._rank_one(request, vectors) for request in requests]

    def _rank_one(self, request: RankRequest, vectors: Mapping[str, np.ndarray]) -> Ranking:
        if not self._targets(request):
            return Ranking.invalid("the request has no reference answer", request.size)
        nearness = [self._nearness(place, request, vectors) for place in range(request.size)]
        pairs = zip(nearness, request.truncated, strict=True)
        return Ranking.from_scores([_score(cosine, cut) for cosine, cut in pairs])

    def _nearness(
        self, place: int, request: RankRequest, vectors: Mapping[str, np.ndarray]
    ) -> float:
        """The similarity of one answer; -1 for a blank one."""
        texts = list(request.responses)
        own = texts.pop(place)
        if own not in vectors:
            return -1.0
        if self._near != "others":
            return max(float(vectors[text] @ vectors[own]) for text in self._targets(request))
        others = [
            float(vectors[text] @ vectors[own]) if text in vectors else -1.0 for text in texts
        ]
        return sum(others) / max(len(others), 1)

    def _targets(self, request: RankRequest) -> list[str]:
        """The texts that answers are compared with; none without a reference."""
        if self._near == "others":
            return [text for text in request.responses if text.strip()]
        return _accepted(request) if self._near == "reference" else [request.question]

    def _look_up(self, texts: Mapping[str, None]) -> dict[str, np.ndarray]:
        """Text -> vector; new texts are encoded together and replace the oldest."""
        new = [text for text in texts if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encode(new), strict=True))
        found = {text: self._vectors[text] for text in texts}
        surplus = max(len(self._vectors) - self._kept, 0)
        for text in list(itertools.islice(self._vectors, surplus)):
            del self._vectors[text]
        return found


def load_encoder(settings: Settings) -> Encode:
    """A sentence model on the CPU, from the package sentence-transformers.

    Raises:
      UserError: no model is named, the package is missing, or the model cannot be loaded.

    Example: `load_encoder(Settings("models/all-MiniLM-L6-v2"))(["It is red."]).shape == (1, 384)`.
    """
    if not settings.model:
        raise UserError(
            "oracle.embedding.model is empty; name the folder of a sentence model, for example "
            "--config.oracle.embedding.model=models/all-MiniLM-L6-v2"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"oracle.name is 'embedding', which needs sentence-transformers ({error}); "
            "pip install 'orl_jax[embeddings]'"
        ) from error
    is_folder = os.path.isdir(settings.model)
    try:
        model = SentenceTransformer(settings.model, device="cpu", local_files_only=is_folder)
    except Exception as error:  # it may raise anything
        raise UserError(
            f"oracle.embedding.model is {settings.model!r}, which is "
            f"{'a folder that' if is_folder else 'no folder, and a name that'} cannot be loaded "
            f"({error}); name a folder that SentenceTransformer.save wrote"
        ) from error
    return lambda texts: model.encode(
        texts, batch_size=settings.batch_size, normalize_embeddings=True, show_progress_bar=False
    )


def make_embedding(section: Mapping[str, Any]) -> EmbeddingOracle:
    """The Oracle of a config section `oracle.embedding`; a key that is left out has its default.

    Raises:
      UserError: an unknown key, or what `load_encoder` refuses.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    if unknown := sorted(set(section) - set(known)):
        raise UserError(
            f"oracle.embedding.{unknown[0]} is not a key; choose from {', '.join(known)}"
        )
    settings = Settings(**section)
    return EmbeddingOracle(load_encoder(settings), settings.near)


def _accepted(request: RankRequest) -> list[str]:
    """The reference and its paraphrases; none without a reference."""
    if not (request.reference or "").strip():
        return []
    return [text for text in (request.reference, *request.paraphrases) if text.strip()]


def _score(cosine: float, truncated: bool) -> float:
    return round(cosine / 2 - 2 if truncated else cosine, DIGITS)
