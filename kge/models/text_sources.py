"""Where the vectors of texts come from: a language model in training, or vectors found before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kge.text.encoder import TextEncoder
from kge.text.language_model import LanguageModel, Pooling, load_language_model
from kge.text.tokens import token_pieces

Encoder = str | Path | np.ndarray | Tensor | TextEncoder | nn.Module


class FrozenVectors(nn.Module):
    """Vectors (n, width) that were computed before and do not learn; they are not saved."""

    vectors: Tensor

    def __init__(self, vectors: np.ndarray | Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.as_tensor(vectors).float(), persistent=False)
        self.width = self.vectors.shape[1]

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (n, width) of (n,) ids."""
        return self.vectors[ids]


class LearnedVectors(nn.Embedding):
    """One vector for each id, for what has no text."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__(count, width)
        self.width = width


class EncodedTexts(nn.Module):
    """Vectors by a language model that learns, from texts that were tokenised once.

    Args:
        model: the language model; several may share it.
        texts: one for each id.
        max_tokens: of each text.
    """

    pieces: Tensor

    def __init__(self, model: LanguageModel, texts: list[str], max_tokens: int) -> None:
        super().__init__()
        self.model, self.width = model, model.width
        pieces = token_pieces(model.tokenizer, texts, max_tokens)
        self.register_buffer("pieces", pieces, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (n, width) of (n,) ids."""
        return self.model(self.pieces[ids])


Source = FrozenVectors | LearnedVectors | EncodedTexts


def text_sources(
    encoder: Encoder,
    texts: Callable[[], tuple[list[str], list[str]]],
    *,
    counts: tuple[int, int],
    tokenizer: Any = None,
    pooling: Pooling = "pooler",
    max_tokens: int = 30,
    frozen: bool = False,
    chunk: int = 256,
) -> tuple[Source, Source]:
    """Sources of the entities' and of the relations' vectors.

    Args:
        encoder: vectors (E, D) as an array or ``.npy`` file, to which relations get learned
            vectors; ``tfidf`` or a :class:`TextEncoder`; or a language model, by name, by folder
            or itself.
        texts: called for the texts of entities and of relations, unless vectors are ready.
        counts: how many entities and relations there are.
        tokenizer: of a language model that is given itself.
        pooling: of a language model.
        max_tokens: of each text, for a language model.
        frozen: encode all texts once, as vectors of unit length, instead of training the encoder.
        chunk: texts encoded at once.

    Raises:
        ValueError: not one vector for each entity.
    """
    named = isinstance(encoder, str | Path) and (
        str(encoder) == "tfidf" or str(encoder).endswith(".npy")
    )
    if named or isinstance(encoder, np.ndarray | Tensor):
        encoder = TextEncoder(encoder)  # type: ignore[arg-type]
    if isinstance(encoder, TextEncoder) and encoder.array is not None:
        if len(encoder.array) != counts[0]:
            raise ValueError(
                f"encoder has vectors of {len(encoder.array)} entities, but there are {counts[0]}"
            )
        known = FrozenVectors(encoder.array)
        return known, LearnedVectors(counts[1], known.width)
    entities, relations = texts()
    if isinstance(encoder, TextEncoder):
        vectors = encoder.encode([*entities, *relations])
        return FrozenVectors(vectors[: counts[0]]), FrozenVectors(vectors[counts[0] :])
    model = language_model(encoder, tokenizer, pooling)
    if not frozen:
        return (
            EncodedTexts(model, entities, max_tokens),
            EncodedTexts(model, relations, max_tokens),
        )
    ours, theirs = (
        model.vectors(token_pieces(model.tokenizer, listed, max_tokens), chunk, unit=True)
        for listed in (entities, relations)
    )
    return FrozenVectors(ours), FrozenVectors(theirs)


def language_model(encoder: Any, tokenizer: Any, pooling: Pooling) -> LanguageModel:
    """The language model that ``encoder`` is, or is the name or folder of.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(encoder, LanguageModel):
        return encoder
    if isinstance(encoder, nn.Module):
        return LanguageModel(encoder, tokenizer, pooling)
    if isinstance(encoder, str | Path):
        return load_language_model(encoder, pooling)
    raise TypeError(
        f"encoder must be a language model or its name or folder, got {type(encoder).__name__}"
    )
