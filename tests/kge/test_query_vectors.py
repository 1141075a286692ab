"""Query and key vectors reproduce the order and differences of a model's own scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch

MODELS = {
    "distmult": {},
    "complex": {"embedding_dim": 12},
    "transe": {"scoring_fct_norm": 1},
    "TransE": {"scoring_fct_norm": 2},
    "rotate": {"embedding_dim": 12},
}


def _model(name: str, inverse: bool = False, **kwargs: Any):
    from pykeen.models import model_resolver

    from kge.datasets import load_dataset

    graph = load_dataset("nations", "/nonexistent", create_inverse_triples=inverse)
    model = model_resolver.make(name, kwargs, triples_factory=graph.training, random_seed=0)
    return model.double(), graph.testing.mapped_triples[:9]


def _compare(queries: torch.Tensor, keys: torch.Tensor, score: str) -> torch.Tensor:
    if score == "dot":
        return queries @ keys.T
    return -torch.cdist(queries, keys, p=1.0 if score == "l1" else 2.0)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_the_models(name: str, inverse: bool) -> None:
    from kge.query_vectors import query_key_model

    model, triples = _model(name, inverse, **MODELS[name])
    vectors, reason = query_key_model(model)
    assert vectors is not None
    assert vectors.score in reason
    for side in ("head", "tail"):
        scores = _compare(vectors.queries(triples, side), vectors.keys(side), vectors.score)
        torch.testing.assert_close(scores, model.predict(triples, side))


@pytest.mark.parametrize("name", MODELS)
def test_relations_of_any_modulus(name: str) -> None:
    """RotatE's relations are rotations only after an update; the score must not assume it."""
    from kge.query_vectors import query_key_model

    model, triples = _model(name, **MODELS[name])
    with torch.no_grad():
        model.relation_representations[0]._embeddings.weight *= 1.7
    vectors, _ = query_key_model(model)
    for side in ("head", "tail"):
        scores = _compare(vectors.queries(triples, side), vectors.keys(side), vectors.score)
        torch.testing.assert_close(scores, model.predict(triples, side))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_flow_to_all_parameters(name: str) -> None:
    from kge.query_vectors import query_key_model

    model, triples = _model(name, **MODELS[name])
    vectors, _ = query_key_model(model)
    total = _compare(
        vectors.tail_queries(triples[:, 0], triples[:, 1]), vectors.keys(), vectors.score
    ).sum()
    total = total + vectors.head_queries(triples[:, 1], triples[:, 2]).sum()
    total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_keys_of_embeddings_are_no_copy() -> None:
    from kge.query_vectors import query_key_model

    for name in ("complex", "distmult"):
        model, _ = _model(name)
        vectors, _ = query_key_model(model)
        weight = model.entity_representations[0]._embeddings.weight
        assert vectors.keys().untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("tucker", {}, "TuckERInteraction is not a comparison"),
        ("simple", {}, "several representations"),
        ("rescal", {}, "is not a comparison"),
        ("distmult", {"predict_with_sigmoid": True}, "sigmoid"),
        ("transe", {"scoring_fct_norm": 3}, "is not a comparison"),
        ("fixed", {}, "no interaction"),
    ],
)
def test_reasons_for_no_vectors(name: str, arguments: dict[str, Any], reason: str) -> None:
    from pykeen.models import model_resolver

    from kge.datasets import load_dataset
    from kge.query_vectors import query_key_model

    graph = load_dataset("nations", "/nonexistent")
    if name != "fixed":
        arguments = {**arguments, "random_seed": 0}
    model = model_resolver.make(name, arguments, triples_factory=graph.training)
    vectors, why = query_key_model(model)
    assert vectors is None
    assert reason in why


def test_subclassed_interaction_is_not_trusted() -> None:
    from pykeen.models import ERModel
    from pykeen.nn.modules import DistMultInteraction

    from kge.datasets import load_dataset
    from kge.query_vectors import query_key_model

    class Other(DistMultInteraction):
        def forward(self, h: Any, r: Any, t: Any) -> Any:
            return -super().forward(h, r, t)

    graph = load_dataset("nations", "/nonexistent")
    shapes = {"shape": 4}
    model = ERModel(
        triples_factory=graph.training,
        interaction=Other(),
        entity_representations_kwargs=shapes,
        relation_representations_kwargs=shapes,
    )
    assert query_key_model(model)[0] is None
