"""SimKGC: one tower reads head and relation as one text, the other the tail."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kge.models.text_model import Rows, TextModel
from kge.models.text_sources import EncodedTexts, language_model
from kge.models.text_vectors import TextVectors
from kge.text.language_model import Pooling
from kge.text.sentences import Texts, graph_sentences
from kge.text.tokens import token_pieces


class SimKGC(TextModel):
    r"""SimKGC (Wang et al., 2022, arXiv 2203.02167), ``model="simkgc"``.

    Two encoders that start from the same weights: one reads head and relation as a pair of texts,
    the other the tail. Both are pooled and brought to unit length; the score is
    :math:`\cos(q, e) / \tau` with a learned :math:`\tau`. The paper trains it by in-batch negatives
    without the known answers: ``training_loop="inbatch"`` with ``training_loop_kwargs=dict(pool=0,
    margin=0.02)``; that margin is subtracted from the positive's cosine.

    Args:
        triples_factory: with inverse triples.
        encoder: a folder or hub name of a model of ``transformers`` (extra ``text``), or such a
            model itself.
        tokenizer: of an encoder that is given itself.
        entity_texts: by id; or a file of label, name, description, read as "name is description";
            by default the labels.
        relation_texts: the same, without inverses, which get "reverse of" put before.
        tau: temperature at first.
        pooling: ``mean``, ``pooler`` or ``first``.
        max_tokens: of each text; a pair has room for two.
        chunk: texts encoded at once.
        kwargs: of PyKEEN's models (loss, random_seed, ...).

    Resetting the parameters leaves those of the language models, which are not drawn at random.

    Raises:
        ValueError: no inverse triples, no language model, or not one text for each id.
        ImportError: the extra ``text`` is not installed.

    Example:
        >>> from pykeen.pipeline import pipeline
        >>> pipeline(  # doctest: +SKIP
        ...     dataset="union", dataset_kwargs=dict(name="wn18rr", create_inverse_triples=True),
        ...     model="simkgc", training_loop="inbatch",
        ...     training_loop_kwargs=dict(pool=0, margin=0.02), optimizer="adam",
        ...     optimizer_kwargs=dict(lr=5e-5), evaluator="fusedrankbased",
        ... )
    """

    hpo_default: ClassVar[dict[str, Any]] = {
        "tau": {"type": float, "low": 0.01, "high": 0.2, "log": True},
    }

    def __init__(
        self,
        *,
        triples_factory: Any,
        encoder: str | Path | nn.Module = "bert-base-uncased",
        tokenizer: Any = None,
        entity_texts: Texts = None,
        relation_texts: Texts = None,
        tau: float = 0.05,
        pooling: Pooling = "mean",
        max_tokens: int = 50,
        chunk: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(triples_factory=triples_factory, **kwargs)
        if not 0 < tau < math.inf:
            raise ValueError(f"tau must be positive and finite, got {tau}")
        if not isinstance(encoder, str | Path | nn.Module) or str(encoder) == "tfidf":
            raise ValueError(
                "simkgc reads head and relation as one text, so that it needs a language model, "
                f"got encoder={encoder!r}; for ready vectors use the model 'hasatext'"
            )
        entities, relations = graph_sentences(triples_factory, entity_texts, relation_texts)
        tail_tower = language_model(encoder, tokenizer, pooling)
        self.query_tower = deepcopy(tail_tower)
        source = EncodedTexts(tail_tower, entities, max_tokens)
        vectors = TextVectors(
            source, _Unit(), count=self.num_entities, dim=tail_tower.width, chunk=chunk
        )
        self.entity_representations = nn.ModuleList([vectors])
        pieces = token_pieces(tail_tower.tokenizer, relations, max_tokens)
        self.register_buffer("relation_pieces", pieces, persistent=False)
        self.tau, self.chunk = tau, chunk
        self.log_scale = nn.Parameter(torch.tensor(-math.log(tau)))

    @property
    def score_scale(self) -> Tensor:
        """What cosines are multiplied by, one over the learned temperature."""
        return self.log_scale.exp()

    def queries(self, heads: Tensor, relations: Tensor, rows: Rows | None = None) -> Tensor:
        """Scaled vectors (..., D) of heads and relations read as one text each; no ``rows``."""
        heads, relations = torch.broadcast_tensors(heads, relations)
        pairs = heads * self.num_relations + relations
        distinct, place = pairs.unique(return_inverse=True)
        found = [self._read(part) for part in distinct.split(self.chunk)]
        return self.score_scale * torch.cat(found)[place]

    def _read(self, pairs: Tensor) -> Tensor:
        source = self.entity_vectors.source
        assert isinstance(source, EncodedTexts)
        heads = source.pieces[pairs // self.num_relations]
        relations = self.get_buffer("relation_pieces")[pairs % self.num_relations]
        return F.normalize(self.query_tower(heads, relations), dim=1)

    def _reset_parameters_(self) -> None:
        nn.init.constant_(self.log_scale, -math.log(self.tau))


class _Unit(nn.Module):
    """Brings rows to unit length."""

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=1)
