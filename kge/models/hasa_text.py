"""The text model of HaSa: one shared encoder, and a recurrent query of head and relation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kge.models.text_model import Rows, TextModel
from kge.models.text_sources import Encoder, LearnedVectors, text_sources
from kge.models.text_vectors import TextVectors
from kge.text.language_model import Pooling
from kge.text.sentences import Texts, graph_sentences


class HaSaText(TextModel):
    r"""Text bi-encoder of HaSa (Zhang et al., 2024, arXiv 2305.10563), ``model="hasatext"``.

    Heads, relations and tails are read by the same encoder, then projected:
    :math:`z = \mathrm{Dropout}(\mathrm{LayerNorm}(W\,\mathrm{enc}(\text{text}) + b))`. The query is
    the last hidden state of a GRU of one layer over :math:`[z_h, z_r]`, and the score its dot
    product with :math:`z_t`, without temperature or normalisation. In the paper the encoder is
    trained along, ``dim=500``, and a margin of 1 is subtracted from positive scores, which is up to
    the loss (``HaSaLoss(margin=1)``) or the training loop (``InBatchTrainingLoop(margin=1)``).

    Args:
        triples_factory: with inverse triples.
        encoder: ``tfidf`` (needs no download) or a :class:`kge.TextEncoder`: texts are encoded
            once and do not learn; an array (E, D) or ``.npy`` file: so are entities, while
            relations get learned vectors; a folder or hub name of a model of ``transformers``
            (extra ``text``), or such a model itself: it is trained.
        tokenizer: of an encoder that is given itself.
        entity_texts: by id; or a file of label, name, description, read as "name is description";
            by default the labels.
        relation_texts: the same, without inverses, which get "reverse of" put before.
        dim: width of queries and keys.
        dropout: behind the projection.
        pooling: of a language model: ``pooler``, ``mean`` or ``first``.
        max_tokens: of each text, for a language model.
        frozen: encode all texts once by the language model instead of training it.
        chunk: texts encoded at once.
        kwargs: of PyKEEN's models (loss, random_seed, ...).

    Resetting the parameters leaves those of the language model, which are not drawn at random.

    Raises:
        ValueError: no inverse triples, or not one text or vector for each id.
        ImportError: a language model without the extra ``text``.

    Example:
        >>> from kge.datasets import load_dataset
        >>> graph = load_dataset("nations", create_inverse_triples=True)
        >>> model = HaSaText(triples_factory=graph.training, dim=8, random_seed=0)
        >>> model.score_t(graph.testing.mapped_triples[:2, :2]).shape
        torch.Size([2, 14])
    """

    hpo_default: ClassVar[dict[str, Any]] = {
        "dim": {"type": int, "low": 64, "high": 512, "q": 64},
        "dropout": {"type": float, "low": 0.0, "high": 0.5},
    }

    def __init__(
        self,
        *,
        triples_factory: Any,
        encoder: Encoder = "tfidf",
        tokenizer: Any = None,
        entity_texts: Texts = None,
        relation_texts: Texts = None,
        dim: int = 500,
        dropout: float = 0.1,
        pooling: Pooling = "pooler",
        max_tokens: int = 30,
        frozen: bool = False,
        chunk: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(triples_factory=triples_factory, **kwargs)
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        counts = self.num_entities, self.num_relations
        sources = text_sources(
            encoder,
            lambda: graph_sentences(triples_factory, entity_texts, relation_texts),
            counts=counts,
            tokenizer=tokenizer,
            pooling=pooling,
            max_tokens=max_tokens,
            frozen=frozen,
            chunk=chunk,
        )
        self.projection = nn.Sequential(
            nn.Linear(sources[0].width, dim), nn.LayerNorm(dim), nn.Dropout(dropout)
        )
        entities, relations = (
            TextVectors(source, self.projection, count=count, dim=dim, chunk=chunk)
            for source, count in zip(sources, counts, strict=True)
        )
        self.entity_representations = nn.ModuleList([entities])
        self.relation_vectors = relations
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def queries(self, heads: Tensor, relations: Tensor, rows: Rows | None = None) -> Tensor:
        """Last hidden states (..., D) of the GRU over the vectors of heads and relations."""
        read = (rows or self.entity_vectors)(heads), self.relation_vectors(relations)
        pairs = torch.stack(torch.broadcast_tensors(*read), -2)
        _, last = self.gru(pairs.flatten(0, -3))
        return last[0].unflatten(0, pairs.shape[:-2])

    def _reset_parameters_(self) -> None:
        for part in (*self.projection, self.gru, self.relation_vectors.source):
            if isinstance(part, nn.Linear | nn.LayerNorm | nn.GRU | LearnedVectors):
                part.reset_parameters()
