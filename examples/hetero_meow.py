"""MEOW, AdaMEOW or HeCo on a heterogeneous graph along meta-paths: ACM, DBLP, IMDB, Freebase.

Dataset: HeCo's files below DATA/Hetero, or any HeteroData of your own.
Command: python examples/hetero_meow.py --dataset acm --method heco --root DATA
Expected: see benchmarks/README.md for what was measured with ``graphcl train``.

Settings are those of the recipes (``graphcl methods meow``), with their weight decay and early
stopping; ``loop`` shows the same in plain PyTorch, on the graph of ``--smoke``. The probe is
selected on the 1000 validation nodes of the published lists.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch_geometric.data import HeteroData

from graphcl.data import load_dataset
from graphcl.hetero.inputs import HeteroInputs
from graphcl.methods import MEOW, AdaMEOW, HeCo, HeteroMethod
from graphcl.probes import cluster_nodes, linear_probe, make_split
from graphcl.probes.labels import node_labels
from graphcl.train import fit, settings_for
from graphcl.views import normalized_features

METHODS = {"meow": MEOW, "adameow": AdaMEOW, "heco": HeCo}
SMALL = {"meow": {"clusters": [5], "top_n": 8}, "adameow": {"top_n": 8}, "heco": {}}


def small() -> HeteroData:
    """120 papers of three kinds with authors and subjects of their kind."""
    data, kind = HeteroData(), torch.arange(120) % 3
    data["paper"].x = torch.randn(120, 8) + 2 * torch.nn.functional.one_hot(kind, 8)
    data["paper"].y = kind
    data["author"].x = torch.randn(30, 6)
    data["subject"].num_nodes = 6
    papers = torch.arange(120)
    for name, count in (("author", 30), ("subject", 6)):
        partner = torch.randint(count // 3, (120,)) * 3 + kind
        data["paper", "to", name].edge_index = torch.stack([papers, partner])
    return data


def loop(method: HeteroMethod, graph: HeteroInputs, epochs: int) -> None:
    """Training in plain PyTorch, without what the recipes ask for besides."""
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    for epoch in range(epochs):
        method.train()
        optimizer.zero_grad()
        loss = method(graph)
        loss.backward()
        optimizer.step()
        method.after_step(epoch, epochs)
        print(f"epoch {epoch}: loss {float(loss.detach()):.4f}", flush=True)


def main() -> None:
    """Train one seed, then probe the embeddings or, without lists of labels, cluster them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="acm")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--method", choices=sorted(METHODS), default="meow")
    parser.add_argument("--labels", type=int, default=60, help="per class: 20, 40 or 60")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a graph of 120 papers, four epochs")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    kind = METHODS[options.method]
    if options.smoke:
        data = small()
        method = kind(kind.input_channels(data), ["PAP", "PSP"], hidden=8, **SMALL[options.method])
        graph = method.prepare(data, seed=options.seed)
        loop(method, graph, epochs=4)
    else:
        data = load_dataset(options.dataset, options.root)
        recipe = settings_for(options.method, options.dataset)
        training = recipe.training
        if training.normalize_features:
            for store in data.node_stores:
                if "x" in store:
                    store.x = normalized_features(store.x)
        if options.epochs:
            training = replace(training, epochs=options.epochs)
        method = recipe.build(kind.input_channels(data))
        graph = fit(method, data, training, seed=options.seed).graph
    z, labels = method.embed(graph), node_labels(data)
    if options.smoke:
        print(f"accuracy of k-means {cluster_nodes(z, labels, seed=0).accuracy:.3f}")
    else:
        split = make_split(data, "labels_per_class", seed=options.seed, count=options.labels)
        print(linear_probe(z, labels, split))


if __name__ == "__main__":
    main()
