"""gCooL: embeddings, a linear probe and the communities that were learned on the way.

python examples/communities_gcool.py --dataset amazon-photo --root DATA --epochs 2900 --lr 0.01

The method is used as a plain module in a plain loop, with the settings of its recipe. Expected
accuracy of this command: see benchmarks/README.md.
"""

import argparse
from pathlib import Path

import torch
from sklearn.metrics import normalized_mutual_info_score

from graphcl.data import load_dataset
from graphcl.probes import linear_probe, make_split
from graphcl.train import settings_for
from graphcl.views.features import normalized_features


def main() -> None:
    """Train one seed, probe the embeddings and compare communities with classes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--lr", type=float, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="digits, three epochs")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.epochs = "digits", 3
    data = load_dataset(options.dataset, options.root)
    given = {"communities": data.num_classes, "epochs": options.epochs, "lr": options.lr}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = settings_for("gcool", options.dataset, given)
    how = recipe.training
    x = normalized_features(data.x) if how.normalize_features else data.x
    torch.manual_seed(options.seed)
    method = recipe.build(x.shape[1])
    optimizer = torch.optim.Adam(method.parameters(), lr=how.lr, weight_decay=how.weight_decay)
    for epoch in range(how.epochs):
        method.train()
        optimizer.zero_grad()
        loss = method(x, data.edge_index)
        loss.backward()
        optimizer.step()
        method.after_step(epoch, how.epochs)
        if epoch % 20 == 0 or epoch == how.epochs - 1:
            print(f"epoch {epoch}: loss {loss.item():.4f}", flush=True)
    split = make_split(data, "random10", seed=options.seed)
    print(linear_probe(method.embed(x, data.edge_index), data.y, split))
    found = method.communities(x, data.edge_index)
    agreement = normalized_mutual_info_score(data.y.numpy(), found.numpy())
    print(f"{len(found.unique())} communities, NMI with the classes {agreement:.3f}")


if __name__ == "__main__":
    main()
