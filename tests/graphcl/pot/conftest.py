"""Small graphs with an encoder, a budget and dense definitions to compare with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from graphcl.encoders import GCNEncoder
from graphcl.pot import (
    Interval,
    adjacency_bounds,
    edge_budgets,
    gcn_layers,
    node_intervals,
    node_scores,
)
from graphcl.pot import contrast_weights as weights_of
from graphcl.pot.intervals import clean_products, masked_products
from graphcl.views import drop_edges_within


def random_graph(nodes: int, density: float, seed: int) -> Tensor:
    """Undirected edges (2, E), both directions; node 0 may be isolated."""
    generator = torch.Generator().manual_seed(seed)
    joined = (torch.rand(nodes, nodes, generator=generator) < density).triu(1)
    return (joined | joined.T).nonzero().T.contiguous()


def dense_adjacency(edge_index: Tensor, nodes: int) -> Tensor:
    """Â of the definition, (N, N) in double precision."""
    full = torch.zeros(nodes, nodes, dtype=torch.double)
    full[edge_index[1], edge_index[0]] = 1
    full.fill_diagonal_(1)
    scale = full.sum(1).rsqrt()
    return scale[:, None] * full * scale


@dataclass
class Problem:
    """An encoder on a graph with a budget, and embeddings of another view."""

    encoder: GCNEncoder
    x: Tensor
    edge_index: Tensor
    budget: Tensor
    other: Tensor

    @property
    def nodes(self) -> int:
        return len(self.x)

    @property
    def layers(self) -> list[Any]:
        return gcn_layers(self.encoder)

    @property
    def weights(self) -> Tensor:
        return weights_of(self.other)

    def bounds(self, refine: bool = True) -> Any:
        return adjacency_bounds(self.edge_index, self.budget, dtype=torch.double, refine=refine)

    def intervals(
        self, sound: bool = True, columns: int = 0, refine: bool = True, **options: Any
    ) -> list[Interval]:
        bounds = self.bounds(refine)
        products = clean_products(self.layers, self.x, bounds)
        first = masked_products(self.x, self.layers[0].weight, columns) if columns else None
        return node_intervals(self.layers, bounds, products, sound=sound, first=first, **options)

    def score(
        self,
        kind: str,
        view: Tensor | None = None,
        *,
        sound: bool = True,
        columns: int = 0,
        x: Tensor | None = None,
        rows: Tensor | None = None,
        block: int = 2**22,
    ) -> Tensor:
        """Scores by the package's functions."""
        layers, refine = self.layers, kind != "official"
        return node_scores(
            kind,
            layers,
            self.bounds(refine),
            self.intervals(sound, columns, refine, rows=rows),
            weights_of(self.other, rows),
            view=view,
            product=(self.x if x is None else x) @ layers[0].weight,
            first=masked_products(self.x, layers[0].weight, columns) if columns else None,
            rows=rows,
            block=block,
        )

    def embed(self, adjacency: Tensor, x: Tensor | None = None) -> Tensor:
        """Embeddings by dense algebra, for Â (..., N, N)."""
        hidden = self.x if x is None else x
        for conv, act in zip(self.encoder.convs, self.encoder.activations, strict=True):
            hidden = act(adjacency @ (hidden @ conv.lin.weight.T) + conv.bias)
        return hidden

    def embed_view(self, view: Tensor, x: Tensor | None = None) -> Tensor:
        """Embeddings of a view by dense algebra."""
        return self.embed(dense_adjacency(view, self.nodes), x)

    def match(self, view: Tensor, x: Tensor | None = None) -> Tensor:
        """c_i of a view by its definition."""
        z = self.embed(dense_adjacency(view, self.nodes), x)
        unit = self.other / self.other.norm(dim=1, keepdim=True)
        found = []
        for i in range(self.nodes):
            rest = sum(unit[j] for j in range(self.nodes) if j != i) / (self.nodes - 1)
            found.append(z[i] @ (unit[i] - rest))
        return torch.stack(found)

    def sample(self, p: float = 0.9) -> Tensor:
        return drop_edges_within(self.edge_index, p, self.budget)

    def all_views(self) -> Iterator[Tensor]:
        """Every view that the budget allows."""
        pairs = [(int(a), int(b)) for a, b in self.edge_index.T if a < b]
        for size in range(len(pairs) + 1):
            for gone in combinations(pairs, size):
                lost = torch.zeros(self.nodes, dtype=torch.long)
                for a, b in gone:
                    lost[a] += 1
                    lost[b] += 1
                if bool((lost <= self.budget).all()):
                    left = [pair for pair in pairs if pair not in gone]
                    edges = torch.tensor(left, dtype=torch.long).reshape(-1, 2).T
                    yield torch.cat([edges, edges.flip(0)], 1)


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Function that makes a problem in double precision."""

    def make(
        seed: int = 0,
        *,
        nodes: int = 20,
        density: float = 0.3,
        p: float = 0.4,
        depth: int = 2,
        slope: float | None = 0.0,
        bias: bool = True,
        budget: Tensor | None = None,
        features: int = 6,
    ) -> Problem:
        torch.manual_seed(seed)
        edge_index = random_graph(nodes, density, seed)
        widths = [5, 4, 3][-depth:]
        name = "identity" if slope is None else "prelu"
        encoder = GCNEncoder(features, widths, activation=name).double().requires_grad_(False)
        for conv, act in zip(encoder.convs, encoder.activations, strict=True):
            if slope is not None:
                act.weight.fill_(slope)
            if bias:
                conv.bias.normal_(std=0.3)
        if budget is None:
            budget = edge_budgets(edge_index, p, nodes)
        x = torch.randn(nodes, features, dtype=torch.double)
        other = torch.randn(nodes, widths[-1], dtype=torch.double)
        return Problem(encoder, x, edge_index, budget, other)

    return make


@pytest.fixture
def dense() -> Callable[[Tensor, int], Tensor]:
    """Function that gives Â of a graph densely."""
    return dense_adjacency
