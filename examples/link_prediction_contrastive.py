"""NCN or NCNC over embeddings that GRACE learned without labels on the training edges.

Dataset: ogbl-ddi, ogbl-collab (official pairs and metric), cora, citeseer, karate; GRACE compares
all nodes, which takes a GPU on ogbl-collab.
Command: python examples/link_prediction_contrastive.py --dataset ogbl-collab --root DATA
Expected: not measured here. Compare with --pretrain 0, the same predictor on the features alone.

GRACE sees the training edges only. Its embeddings stand beside the features as inputs of NCN's
encoder; the epoch is chosen on validation pairs and the test pairs are scored once.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from graphcl.data import load_dataset
from graphcl.encoders import PropagationEncoder
from graphcl.links import NCN, NCNC, fit_links
from graphcl.methods import GRACE
from graphcl.probes import LinkSplit, hold_out_links, official_links
from graphcl.views import compact_features, identity_features


def contrast(x: Tensor, split: LinkSplit, width: int, epochs: int) -> Tensor:
    """Embeddings (N, width) of GRACE on the training edges, columns of unit variance."""
    method = GRACE(x.shape[1], hidden=width, tau=0.4)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3, weight_decay=1e-5)
    for epoch in range(epochs):
        method.train()
        optimizer.zero_grad()
        loss = method(x, split.train_edge_index)
        loss.backward()
        optimizer.step()
        if epoch % 20 == 0 or epoch == epochs - 1:
            print(f"GRACE epoch {epoch}: loss {float(loss.detach()):.4f}", flush=True)
    z = method.embed(x, split.train_edge_index)
    return (z - z.mean(0)) / z.std(0).clamp(min=1e-6)


def main() -> None:
    """Pre-train, train the predictor, test once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ogbl-collab")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--predictor", choices=("ncn", "ncnc"), default="ncn")
    parser.add_argument("--pretrain", type=int, default=100, help="epochs of GRACE; 0 for none")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="karate, three epochs of each")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.pretrain, options.epochs, options.width = "karate", 3, 3, 8
    data = load_dataset(options.dataset, options.root)
    nodes = int(data.num_nodes)
    split = official_links(data) or hold_out_links(
        data.edge_index, nodes, validation=0.1, test=0.2, seed=options.seed
    )
    x = identity_features(nodes) if data.x is None else compact_features(data.x)
    torch.manual_seed(options.seed)
    inputs = x
    if options.pretrain:
        z = contrast(x, split, options.width, options.pretrain)
        # Identity columns say nothing beside embeddings; features do.
        inputs = z if data.x is None else torch.cat([data.x, z], 1)
    encoder = PropagationEncoder(inputs.shape[1], options.width, norm=False)
    predictor = (NCNC if options.predictor == "ncnc" else NCN)(options.width, dropout=0.1)
    k = min(100, split.validation_negatives.shape[1])
    found = fit_links(
        encoder, predictor, inputs, split, epochs=options.epochs, k=k, progress=not options.smoke
    )
    print(
        f"{options.dataset}, {options.predictor} over {'GRACE' if options.pretrain else 'features'}"
        f": {found.metric} {found.test:.4f} on test, {found.validation:.4f} on validation, epoch "
        f"{found.best_epoch} of {len(found.curve)}"
    )


if __name__ == "__main__":
    main()
