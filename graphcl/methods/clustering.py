"""What a method offers that clusters the nodes itself."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from graphcl.losses.pamc import Approximation
from graphcl.methods.method import GraphMethod


class ClusteringMethod(GraphMethod):
    """A :class:`GraphMethod` with clusters of its own, which are what it is judged by."""

    @abstractmethod
    def memberships(self, z: Tensor) -> Tensor:
        """Membership (N, K) of embeddings (N, D) in each cluster, rows sum to one."""

    @abstractmethod
    def latest(self) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) and memberships (N, K) that the last call computed, detached."""

    def approximation(self) -> Approximation | None:
        """For the last call: the exact negative term and its proxy, where the method has one."""
        return None

    @torch.no_grad()
    def communities(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Most likely cluster (N,) of every node."""
        return self.memberships(self.embed(x, edge_index)).argmax(1)
