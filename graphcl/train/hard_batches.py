"""Batches of similar nodes, whose negatives are hard."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from sklearn.cluster import MiniBatchKMeans
from torch_geometric.data import Data

from graphcl.kernels.processes import from_first_process
from graphcl.methods.method import GraphMethod
from graphcl.minibatch.seeds import SeedOrder
from graphcl.train.module import ContrastiveModule


class HardBatches(Callback):
    """Put nodes with similar embeddings into the same batches, so that negatives are hard.

    Every ``epochs`` epochs the nodes are clustered by k-means on their embeddings, and the seeds
    ordered by cluster (NGAME, Dahiya et al., 2023, arXiv 2207.04452). The clusters are part of the
    checkpoint.

    Args:
        order: the order of the seeds.
        data: the whole graph.
        epochs: how often to cluster anew.
        cluster_size: mean number of nodes in a cluster.
    """

    def __init__(self, order: SeedOrder, data: Data, epochs: int, cluster_size: int) -> None:
        self.order, self.data, self.epochs = order, data, epochs
        self.clusters = max(2, round(order.num_nodes / cluster_size))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cluster when it is time."""
        assert isinstance(pl_module, ContrastiveModule)
        if trainer.current_epoch % self.epochs:
            return
        x, edge_index = self.data.x, self.data.edge_index
        assert isinstance(pl_module.method, GraphMethod)
        z = pl_module.method.embed(x.to(pl_module.device), edge_index.to(pl_module.device))
        rows = F.normalize(z.float()).cpu().numpy()
        means = MiniBatchKMeans(self.clusters, n_init=1, random_state=trainer.current_epoch)
        labels = torch.from_numpy(means.fit_predict(rows)).long()
        # Rounding may differ between processes; the order of the seeds must not.
        self.order.regroup(from_first_process(labels))

    def state_dict(self) -> dict[str, Any]:
        """The clusters."""
        return {"labels": self.order.labels}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with them."""
        self.order.regroup(state_dict["labels"])
