"""PamCGC: clusters of a graph's nodes, and how good the meta-nodes' approximation is on the way.

python examples/clustering_pamcgc.py --dataset usps --root DATA --epochs 300

The method is used as a plain module in a plain loop, with the settings of its recipe. Expected
scores of usps, acm-cluster and citeseer-cluster: see benchmarks/README.md.
"""

import argparse
from pathlib import Path

import torch

from graphcl.data import load_dataset
from graphcl.methods.preparation import Preparation
from graphcl.probes import clustering_scores
from graphcl.train import settings_for


def main() -> None:
    """Pre-train, train one seed, print scores of the last epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="digits, a small network, few epochs")
    options = parser.parse_args()
    small = {}
    if options.smoke:
        options.dataset, options.epochs = "digits", 3
        small = {"hidden": (32, 32), "pretrain_epochs": 2}
    data = load_dataset(options.dataset, options.root)
    torch.manual_seed(options.seed)
    settings = settings_for("pamcgc", options.dataset, {"clusters": data.num_classes, **small})
    method = settings.build(data.num_features)
    method.pretrain(data.x, data.edge_index, Preparation(options.seed))
    start = clustering_scores(data.y, method.communities(data.x, data.edge_index))
    print(f"k-means on the autoencoder: accuracy {start['accuracy']:.3f}, nmi {start['nmi']:.3f}")
    optimizer = torch.optim.Adam(method.parameters(), lr=settings.training.lr)
    for epoch in range(options.epochs):
        optimizer.zero_grad()
        loss = method(data.x, data.edge_index)
        loss.backward()
        optimizer.step()
        method.after_step(epoch, options.epochs)
        if epoch % 20 == 0 or epoch == options.epochs - 1:
            error = method.approximation().error
            print(f"epoch {epoch}: loss {loss.item():.4f}, error of the proxy {error:.4f}")
    end = clustering_scores(data.y, method.communities(data.x, data.edge_index))
    print("last epoch: " + ", ".join(f"{name} {value:.3f}" for name, value in end.items()))


if __name__ == "__main__":
    main()
