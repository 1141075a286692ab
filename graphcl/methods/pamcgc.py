"""PamCGC: graph clustering by contrast of meta-nodes and a self-sharpening assignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import ClassVar, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from graphcl.community.dec import clustering_divergence, sharpened_target, student_assignment
from graphcl.community.influence import influence_pairs, sampled_influence
from graphcl.encoders.autoencoder import Autoencoder
from graphcl.kernels.kept import Kept
from graphcl.kernels.segments import segment_mean
from graphcl.losses.pamc import Approximation, PamC
from graphcl.losses.precision import widened
from graphcl.methods.clustering import ClusteringMethod
from graphcl.methods.finite import check_finite
from graphcl.methods.preparation import Preparation
from graphcl.methods.pretraining import pretrain
from graphcl.probes import cluster_nodes


class PamCGC(ClusteringMethod):
    r"""PamCGC (Kulatilleke et al., 2022, arXiv 2209.14067): features and a graph in, clusters out.

    The encoder of a pre-trained autoencoder is trained further by

    .. math:: L = \alpha L_{PamC} + \beta\, KL(p \| q),

    with DEC's memberships q by learned centres and their sharpened target p, anew in every step.
    The graph enters the loss alone, as influence of order r: encoding needs no edges. Call
    :meth:`pretrain` once before training, which :func:`~graphcl.train.fit` does by itself; without
    it, centres and encoder are random.

    Centres hardly leave where k-means of the pre-trained codes has put them if ``beta`` is small,
    and two of them may share a class then. ``recentre`` puts them anew (ours, not the paper's).

    Args:
        in_channels: F.
        clusters: K.
        alpha: weight of the contrast.
        beta: weight of the divergence.
        order: steps r of influence.
        influence: sum over all steps, or use the last alone.
        keep: positives kept for each node, the strongest; None for all.
        walks: draw positives anew in each step from so many random walks of each node; 0 computes
            them once.
        tau: temperature of :class:`~graphcl.losses.PamC`, the inverse of the paper's.
        weight: likewise, as ``assign``, ``intra``, ``similarity`` and ``mode``.
        assign: ``hard`` (default) or ``soft``.
        intra: count a cluster among its own negatives (default).
        similarity: ``mean`` (default) or ``cos``.
        mode: ``paper``, or ``official`` for the released loss; the release also has all positives,
            which is ``keep=None``.
        freedom: of the Student distribution.
        recentre: epochs after which the centres are put anew, and so on, to the means of clusters
            that k-means finds among the directions of the codes, as the contrast compares those (a
            centre for which it finds none stays); 0 for never.
        hidden: widths of the autoencoder's inner layers.
        width: D of the embeddings.
        restarts: of the k-means that gives the first centres.
        pretrain_epochs: passes over all nodes in pre-training.
        pretrain_lr: its learning rate.
        pretrain_batch: its batch size.

    Raises:
        ValueError: settings out of range.
    """

    epoch: Tensor

    paper: ClassVar[str] = "PamCGC, Kulatilleke et al., 2022, arXiv 2209.14067"

    def __init__(
        self,
        in_channels: int,
        clusters: int = 8,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        order: int = 1,
        influence: bool = True,
        keep: int | None = 64,
        walks: int = 0,
        tau: float = 2.0,
        weight: Literal["size", "none"] | None = None,
        assign: Literal["hard", "soft"] | None = None,
        intra: bool | None = None,
        similarity: Literal["mean", "cos"] | None = None,
        mode: Literal["paper", "official"] = "paper",
        freedom: float = 1.0,
        recentre: int = 0,
        hidden: Sequence[int] = (500, 500, 2000),
        width: int = 10,
        restarts: int = 20,
        pretrain_epochs: int = 100,
        pretrain_lr: float = 1e-3,
        pretrain_batch: int = 256,
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        for name, value in (("freedom", freedom), ("pretrain_lr", pretrain_lr)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and positive, got {value}")
        for name, value, low in (
            ("clusters", clusters, 2),
            ("order", order, 1),
            ("walks", walks, 0),
            ("recentre", recentre, 0),
            ("restarts", restarts, 1),
            ("pretrain_epochs", pretrain_epochs, 0),
            ("pretrain_batch", pretrain_batch, 1),
            *([] if keep is None else [("keep", keep, 1)]),
        ):
            if not isinstance(value, Integral) or value < low:
                raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")
        self.alpha, self.beta = alpha, beta
        self.order, self.influence, self.keep, self.walks = order, influence, keep, walks
        self.freedom, self.recentre, self.restarts = freedom, recentre, restarts
        self.pretrain_epochs, self.pretrain_lr = pretrain_epochs, pretrain_lr
        self.pretrain_batch = pretrain_batch
        self.loss = PamC(
            tau, weight=weight, assign=assign, intra=intra, similarity=similarity, mode=mode
        )
        self.autoencoder = Autoencoder(in_channels, hidden, width)
        self.centres = nn.Parameter(torch.empty(clusters, width))
        nn.init.xavier_uniform_(self.centres)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        self._known: Kept[tuple[Tensor, Tensor]] | None = None
        self._latest: tuple[Tensor, Tensor] | None = None

    def pretrain(
        self, x: Tensor, edge_index: Tensor, preparation: Preparation | None = None
    ) -> None:
        """Pre-train the autoencoder on the features, then put centres by k-means.

        Raises:
            ValueError: features that are not finite, or fewer nodes than clusters.
        """
        from sklearn.cluster import KMeans

        preparation = preparation or Preparation()
        clusters = len(self.centres)
        if clusters > x.shape[0]:
            raise ValueError(
                f"{clusters} clusters were asked for, but there are {x.shape[0]} nodes"
            )
        check_finite(x)
        pretrain(
            self.autoencoder,
            x,
            epochs=self.pretrain_epochs,
            batch=self.pretrain_batch,
            lr=self.pretrain_lr,
            preparation=preparation,
        )
        z = self.embed(x, edge_index)
        means = KMeans(clusters, n_init=self.restarts, random_state=preparation.seed)
        found = means.fit(z.double().cpu().numpy()).cluster_centers_
        with torch.no_grad():
            self.centres.copy_(torch.from_numpy(found))

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Codes of the features, in float32 or wider; edges play no part."""
        return widened(self.autoencoder.encode(x))[0]

    def memberships(self, z: Tensor) -> Tensor:
        """See :meth:`ClusteringMethod.memberships`."""
        return student_assignment(z, self.centres, freedom=self.freedom)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """See :meth:`GraphMethod.forward`."""
        z = self.encode(x, edge_index)
        if self.training and self.recentre and self.epoch and self.epoch % self.recentre == 0:
            self._put_centres_anew(z.detach())
        q = self.memberships(z)
        self._latest = (z.detach(), q.detach())
        contrast: Tensor = self.loss(z, *self.positives(edge_index, z.shape[0]), q)
        divergence = clustering_divergence(sharpened_target(q), q)
        return self.alpha * contrast + self.beta * divergence

    def after_step(self, step: int, total: int) -> None:
        """Count the epochs between new centres."""
        self.epoch.fill_(step + 1)

    @torch.no_grad()
    def _put_centres_anew(self, z: Tensor) -> None:
        count = len(self.centres)
        seed = int(torch.randint(2**31, ()))
        found = cluster_nodes(
            z, num_clusters=count, seed=seed, restarts=self.restarts, normalize=True
        )
        label = found.prediction.to(z.device)
        # A centre stays the one of the cluster that shares most nodes with its own.
        pair = self.memberships(z).argmax(1) * count + label
        shared = torch.bincount(pair, minlength=count**2).view(count, count)
        own, theirs = linear_sum_assignment(shared.cpu().numpy(), maximize=True)
        means = segment_mean(z, label, num_segments=count)
        found_some = torch.bincount(label, minlength=count)[theirs].cpu().numpy() > 0
        own, theirs = own[found_some], theirs[found_some]
        self.centres[own] = means[theirs].to(self.centres)

    def positives(self, edge_index: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
        """Pairs (2, P) and their influence (P,); kept while the same edges are passed."""
        if self.walks:
            return sampled_influence(
                edge_index, num_nodes, self.order, self.walks, cumulative=self.influence
            )
        if self._known is None or not self._known.is_of(edge_index, num_nodes):
            found = influence_pairs(
                edge_index, num_nodes, self.order, cumulative=self.influence, keep=self.keep
            )
            self._known = Kept(found, edge_index, num_nodes)
        return self._known.value

    def latest(self) -> tuple[Tensor, Tensor]:
        """See :meth:`ClusteringMethod.latest`."""
        if self._latest is None:
            raise RuntimeError("nothing was computed yet: call the method first")
        return self._latest

    def approximation(self) -> Approximation:
        """See :meth:`ClusteringMethod.approximation`."""
        return self.loss.approximation(*self.latest())
