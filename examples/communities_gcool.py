"""gCooL: embeddings, a linear probe and the communities that were learned on the way.

python examples/communities_gcool.py --dataset amazon-photo --root DATA --epochs 500 --lr 0.01

The method is used as a plain module in a plain loop. Expected accuracy: see benchmarks/README.md.
"""

import argparse
from pathlib import Path

import torch
from sklearn.metrics import normalized_mutual_info_score

from graphcl.data import load_dataset
from graphcl.methods import GCooL
from graphcl.probes import linear_probe, make_split


def main() -> None:
    """Train one seed, probe the embeddings and compare communities with classes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="digits, three epochs")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.epochs = "digits", 3
    data = load_dataset(options.dataset, options.root)
    x = data.x / data.x.sum(1, keepdim=True).clamp(min=1e-9)
    torch.manual_seed(options.seed)
    method = GCooL(x.shape[1], hidden=128, communities=data.num_classes, tau=0.3)
    optimizer = torch.optim.Adam(method.parameters(), lr=options.lr, weight_decay=1e-5)
    for epoch in range(options.epochs):
        method.train()
        optimizer.zero_grad()
        loss = method(x, data.edge_index)
        loss.backward()
        optimizer.step()
        method.after_step(epoch, options.epochs)
        if epoch % 20 == 0 or epoch == options.epochs - 1:
            print(f"epoch {epoch}: loss {loss.item():.4f}", flush=True)
    split = make_split(data, "random10", seed=options.seed)
    print(linear_probe(method.embed(x, data.edge_index), data.y, split))
    found = method.communities(x, data.edge_index)
    agreement = normalized_mutual_info_score(data.y.numpy(), found.numpy())
    print(f"{len(found.unique())} communities, NMI with the classes {agreement:.3f}")


if __name__ == "__main__":
    main()
