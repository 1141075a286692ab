"""What a run is judged by: the splits of its protocol, its held-out links, its linear probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from graphcl.probes import (
    LinkResult,
    Split,
    hold_out_links,
    linear_probe,
    make_split,
    official_links,
)
from graphcl.probes.labels import node_labels

CLASSIFICATION = ("accuracy", "micro_f1", "macro_f1")
CLASSIFIERS = ("logistic", "adam")


def named_splits(data: Any, config: Mapping[str, Any], seed: int) -> dict[str, Split]:
    """Splits of a run's protocol by the suffix of their metrics, the one without a suffix first.

    Raises:
        ValueError: labels per class that the protocol or the data do not have.
    """
    protocol, labels = config["protocol"], config.get("labels_per_class")
    if protocol != "labels_per_class":
        if labels is not None:
            raise ValueError(
                f"labels_per_class={labels} goes with protocol 'labels_per_class', not {protocol!r}"
            )
        return {"": make_split(data, protocol, seed=seed)}
    counts = [labels]
    if labels is None:
        counts = sorted(getattr(data, "splits", None) or (20,), reverse=True)
    return {
        f"@{count}" if number else "": make_split(data, protocol, seed=seed, count=count)
        for number, count in enumerate(counts)
    }


def classify(
    embeddings: torch.Tensor, data: Any, config: Mapping[str, Any], seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics of linear probes on all splits of the protocol, and how the first was selected."""
    values: dict[str, float] = {}
    selection: dict[str, Any] = {}
    labels = node_labels(data)
    names = CLASSIFICATION + (("auc",) if config["protocol"] == "labels_per_class" else ())
    for suffix, split in named_splits(data, config, seed).items():
        probe = linear_probe(embeddings, labels, split, classifier=config["classifier"], seed=seed)
        values |= {name + suffix: float(getattr(probe, name)) for name in names}
        values["validation_accuracy" + suffix] = float(probe.validation_accuracy)
        selection = selection or {"selection": probe.selection, "selected": dict(probe.selected)}
    return values, selection


def training_graph(data: Any, config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
    """The graph a seed trains on, and its held-out links (``None`` without any).

    OGB's graphs consist of training edges alone and come with the links to test.
    """
    official = official_links(data)
    if official is not None:
        return data, official
    share = config["held_out_links"]
    if not share:
        return data, None
    links = hold_out_links(
        data.edge_index, int(data.num_nodes or 0), validation=share / 2, test=share, seed=seed
    )
    graph = data.clone()
    graph.edge_index = links.train_edge_index
    return graph, links


def link_values(found: LinkResult) -> dict[str, float]:
    """Metrics of a link probe by name."""
    return {
        "link_auc": found.auc,
        "link_average_precision": found.average_precision,
        **{f"link_hits@{k}": value for k, value in found.hits.items()},
        **({} if found.mrr is None else {"link_mrr": found.mrr}),
    }
