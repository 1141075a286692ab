"""NCN or NCNC on OGB's link data sets, official split and metric (Wang et al., 2024, ICLR).

python examples/link_prediction_ogb.py --dataset ogbl-ddi --root DATA --out runs/ddi

Settings are the release's. Published by NCN (10 seeds): Hits@20 82.32 ± 6.10 on ogbl-ddi, Hits@50
64.76 ± 0.87 on ogbl-collab, MRR 88.09 ± 0.06 on ogbl-citation2, on a graphics card; for a core of a
CPU see benchmarks/README.md. ``--out`` holds curve and checkpoint; the same command goes on there.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from graphcl.data import load_dataset
from graphcl.encoders import GCNEncoder, PropagationEncoder
from graphcl.links import NCN, NCNC, fit_links
from graphcl.probes import LinkSplit, hold_out_links, official_links

# Predictor, completion and training by data set.
SETTINGS = {
    "ogbl-ddi": (
        dict(hidden=224, dropout=0.6, out_layers=2, tail=True),
        dict(scale=10.0, offset=3.0, prior=0.1, alpha=0.5),
        dict(batch_size=24576, lr_encoder=2.1e-3, lr_predictor=1.8e-3),
    ),
    "ogbl-collab": (
        dict(hidden=64, dropout=0.3),
        dict(scale=2.5, offset=6.0, prior=0.1, alpha=1.05),
        dict(batch_size=65536, lr_encoder=8.2e-3, lr_predictor=3.7e-3),
    ),
    "ogbl-citation2": (
        dict(hidden=64, dropout=0.2),
        dict(scale=7.0, offset=4.7, prior=0.3, alpha=1.0),
        dict(batch_size=32768, lr_encoder=8.8e-3, lr_predictor=5.8e-3, hide_targets=False),
    ),
}


def encoder_for(dataset: str, channels: int, width: int) -> nn.Module:
    """The release's encoders: sums of learned vectors, one GCN layer, three smoothings."""
    if dataset == "ogbl-collab":
        return GCNEncoder(channels, [width])
    options = {"layers": 3, "dropout": 0.2, "tail_dropout": 0.3}
    if dataset == "ogbl-ddi":
        options = {"aggregation": "sum", "embed": True, "dropout": 0.4, "tail_dropout": 0.0}
    return PropagationEncoder(channels, width, norm=False, residual=True, **options)


def small(dataset: str) -> tuple[Tensor, LinkSplit]:
    """Three dense blocks of twenty nodes, split as the data set is."""
    same = torch.arange(60)[:, None] // 20 == torch.arange(60)[None] // 20
    chance = torch.where(same, 0.6, 0.01)
    edges = (torch.rand(60, 60) < chance).triu(1).nonzero().T
    options = dict(vars(hold_out_links(edges, 60, validation=0.1, test=0.2)), metric="hits@20")
    if dataset == "ogbl-citation2":
        options["metric"] = "mrr"
        for part in ("validation", "test"):
            options[f"{part}_negatives"] = torch.randint(60, (len(options[part][0]), 50))
    return torch.randn(60, 8), LinkSplit(**options)


def main() -> None:
    """Train, test once and draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(SETTINGS), default="ogbl-ddi")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--predictor", choices=("ncn", "ncnc"), default="ncn")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--edges", type=int, default=0, help="training edges an epoch, 0 for all")
    parser.add_argument("--batch-size", type=int, help="instead of the release's")
    parser.add_argument("--validation-pairs", type=int, default=0, help="looked at, 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="of one run; default runs/DATASET-PREDICTOR")
    parser.add_argument("--smoke", action="store_true", help="a graph of 60 nodes, two epochs")
    options = parser.parse_args()
    options.out = options.out or Path(f"runs/{options.dataset}-{options.predictor}")
    torch.manual_seed(options.seed)
    if options.smoke:
        (x, split), options.epochs = small(options.dataset), 2
        options.out = options.out.with_name(f"{options.out.name}-smoke")
    else:
        data = load_dataset(options.dataset, options.root)
        x, split = data.x, official_links(data)
    if options.dataset == "ogbl-ddi":
        x = torch.arange(split.num_nodes)  # no features: a vector for each node is learned
    predictor, completion, fit = SETTINGS[options.dataset]
    fit = fit | {"batch_size": options.batch_size or fit["batch_size"]}
    encoder = encoder_for(options.dataset, x.shape[-1], predictor["hidden"])
    more = completion if options.predictor == "ncnc" else {}
    kind = (NCNC if more else NCN)(predictor["hidden"], **predictor, **more)
    curve, rows, started = options.out / "curve.csv", [], time.perf_counter()
    if curve.exists() and (options.out / "run.pt").exists():
        rows = np.loadtxt(curve, delimiter=",", skiprows=1, ndmin=2).tolist()
        started -= rows[-1][1]

    def report(epoch: int, loss: float, value: float) -> None:
        rows[epoch - 1 :] = [[epoch, time.perf_counter() - started, loss, value]]
        np.savetxt(curve, rows, "%.8g", ",", header="epoch,seconds,loss,validation", comments="")
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot([row[1] / 60 for row in rows], [row[3] for row in rows], marker=".")
        axes.set(xlabel="minutes", ylabel=f"validation {split.metric}", title=options.dataset)
        figure.savefig(options.out / "curve.png", dpi=150)
        print(f"epoch {epoch}: loss {loss:.4f}, validation {value:.4f}", flush=True)

    fit |= {"epochs": options.epochs, "edges_per_epoch": options.edges, "report": report}
    fit |= {"validation_pairs": options.validation_pairs, "checkpoint": options.out / "run.pt"}
    fit["validation_edges_at_test"] = options.dataset == "ogbl-collab"  # as OGB allows
    found = fit_links(*(part.to(options.device) for part in (encoder, kind, x, split)), **fit)
    print(f"{found.metric} {found.test:.4f} on test, epoch {found.best_epoch} of {len(rows)}")


if __name__ == "__main__":
    main()
