"""Runs of methods that cluster: which weights count, what is noted on the way, and the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.metrics import silhouette_score
from torch import Tensor
from torch_geometric.data import Data

from graphcl.community.modularity import modularity
from graphcl.data.files import write_csv
from graphcl.encoders.evaluating import evaluating
from graphcl.methods.clustering import ClusteringMethod
from graphcl.methods.method import Method
from graphcl.probes import cluster_nodes, clustering_scores
from graphcl.train.callbacks import BestWeights
from graphcl.train.module import ContrastiveModule

Selection = Literal["last", "silhouette", "modularity"]
SELECTIONS: tuple[str, ...] = get_args(Selection)
PROTOCOL = "clustering"
ORACLE = "best epoch against the labels, each oracle_ metric by itself"
_SILHOUETTE_NODES = 2000


class ClusterTrace(BestWeights):
    """Follow the clusters of a :class:`ClusteringMethod` and keep the weights that count.

    Row t is about the weights before step t, the last row about those after the last step.

    Args:
        graph: the graph that is trained on; its labels are read for the oracle alone.
        selection: ``last`` keeps the last weights; ``silhouette`` (of at most 2000 nodes) and
            ``modularity`` those with the highest value. None of them sees a label.
        oracle: also note the best scores against the labels, the way the paper reports them; the
            weights are not chosen by them.
        approximation: also compare the negative term with the exact one, O(N^2 D) time a step.
        seed: of the nodes drawn for the silhouette.

    Raises:
        ValueError: unknown selection, or an oracle without labels.
    """

    def __init__(
        self,
        graph: Data,
        selection: Selection = "last",
        *,
        oracle: bool = False,
        approximation: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if selection not in SELECTIONS:
            raise ValueError(
                f"unknown selection {selection!r}; choose from {', '.join(SELECTIONS)}"
            )
        if oracle and graph.y is None:
            raise ValueError("oracle scores need labels, and the graph has none")
        self.graph, self.selection, self.oracle = graph, selection, oracle
        self.wants_approximation, self.seed = approximation, seed
        self.best_value = -float("inf")
        self.rows: list[dict[str, float]] = []
        self._label: Tensor | None = None
        self._finished = False

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any
    ) -> None:
        """Note what the step has just computed."""
        assert isinstance(pl_module, ContrastiveModule)
        method = pl_module.method
        assert isinstance(method, ClusteringMethod)
        self._note(trainer.global_step, method)

    def restore(self, method: Method) -> None:
        """Note the last weights too, then put the chosen ones back."""
        assert isinstance(method, ClusteringMethod)
        device = next(method.parameters()).device
        steps = len(self.rows)
        if not self._finished:
            x, edges = self.graph.x, self.graph.edge_index
            assert x is not None
            assert edges is not None
            with evaluating(method):  # in training PamCGC may move its centres
                method(x.to(device), edges.to(device))
            self._note(steps, method)
            self._finished = True
        super().restore(method)

    def _note(self, step: int, method: ClusteringMethod) -> None:
        z, q = method.latest()
        label = q.argmax(1).cpu()
        row: dict[str, float] = {"epoch": step, "clusters": float(len(label.unique()))}
        before = label if self._label is None else self._label
        row["changed"] = float((label != before).float().mean())
        self._label = label
        if self.selection != "last":
            value = label_free_value(self.selection, z, label, self.graph.edge_index, self.seed)
            row[self.selection] = value
            if value > self.best_value:
                self.best_value = value
                self.weights = {k: v.clone() for k, v in method.state_dict().items()}
        if self.oracle:
            scores = clustering_scores(self.graph.y, label)
            row |= {f"oracle_{name}": value for name, value in scores.items()}
        if self.wants_approximation and (found := method.approximation()) is not None:
            row |= {
                "exact": found.exact,
                "proxy": found.proxy,
                "error": found.error,
                "predicted": found.predicted,
            }
        self.rows.append(row)

    def oracle_scores(self) -> dict[str, float]:
        """The best of every score over all epochs, empty unless the oracle was asked for."""
        names = [name for name in self.rows[-1] if name.startswith("oracle_")]
        return {name: max(row[name] for row in self.rows) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Everything noted so far."""
        return {
            "rows": self.rows,
            "label": self._label,
            "best_value": self.best_value,
            "weights": self.weights,
            "finished": self._finished,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self.rows = [dict(row) for row in state_dict["rows"]]
        self._label, self.best_value = state_dict["label"], state_dict["best_value"]
        self.weights, self._finished = state_dict["weights"], state_dict["finished"]

    def write(self, path: Path) -> None:
        """Write ``clusters.csv``."""
        columns = list(self.rows[0])
        rows = [[int(row["epoch"]), *(row[name] for name in columns[1:])] for row in self.rows]
        write_csv(path, columns, rows)


def label_free_value(
    selection: str, z: Tensor, label: Tensor, edge_index: Tensor | None, seed: int
) -> float:
    """How good a clustering looks without labels, higher is better; -1 for a single cluster."""
    if len(label.unique()) < 2:
        return -1.0
    if selection == "modularity":
        assert edge_index is not None
        return modularity(edge_index.cpu(), label)
    rows = z.float().cpu().numpy()
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    kept = chosen[:_SILHOUETTE_NODES].numpy()
    found = label.numpy()[kept]
    if not 1 < len(set(found.tolist())) < len(found):
        return -1.0
    return float(silhouette_score(rows[kept], found))


def cluster_values(method: ClusteringMethod, data: Data, seed: int) -> dict[str, float]:
    """Scores of a method's clusters of all nodes: against labels where there are any, and free.

    The names with ``kmeans_`` are of as many clusters that k-means finds among the rows of unit
    length. Contrast puts rows of a cluster in one direction, while centres and memberships are of
    rows as they are, so that the two may differ by much.
    """
    device = next(method.parameters()).device
    assert data.x is not None
    assert data.edge_index is not None
    z = method.embed(data.x.to(device), data.edge_index.to(device))
    with torch.no_grad():
        memberships = method.memberships(z)
    found = cluster_nodes(z, num_clusters=memberships.shape[1], seed=seed, normalize=True)
    unit = torch.nn.functional.normalize(z)
    values: dict[str, float] = {}
    for prefix, rows, label in (
        ("", z, memberships.argmax(1).cpu()),
        ("kmeans_", unit, found.prediction),
    ):
        scores = {} if data.y is None else clustering_scores(data.y, label)
        for name in ("silhouette", "modularity"):
            scores[name] = label_free_value(name, rows, label, data.edge_index, seed)
        values |= {f"{prefix}{name}": value for name, value in scores.items()}
    return values
