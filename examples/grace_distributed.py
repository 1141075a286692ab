"""GRACE on several processes: local anchors against the candidates of all, with exact gradients.

Dataset: ogbn-products, or any other by name.
Command: python examples/grace_distributed.py --root DATA --devices 4 --out runs/products
On two machines with four devices each, host0 the first, on both (--node-rank 1 on the second):
    torchrun --nnodes 2 --nproc-per-node 4 --node-rank 0 --master-addr host0 --master-port 29500 \
        examples/grace_distributed.py --devices 4 --nodes 2 --root DATA --out /shared/run
Expected: not measured here. With --smoke (digits, two epochs): a test accuracy of about 0.96.

When a process is lost, the others stop; the same command, with --out, continues from the last
checkpoint.
"""

import argparse
from pathlib import Path

import torch

from graphcl.data import load_dataset
from graphcl.methods import GRACE
from graphcl.minibatch import Batching
from graphcl.probes import linear_probe, make_split
from graphcl.train import TrainingOptions, fit
from graphcl.train.processes import is_first


def main() -> None:
    """Train on all processes; the first one embeds and probes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ogbn-products")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--protocol", default="random10", help="see graphcl datasets")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of checkpoints, on a shared disk")
    parser.add_argument("--smoke", action="store_true", help="digits, two processes, two epochs")
    options = parser.parse_args()
    device = "auto"
    if options.smoke:
        options.dataset, options.epochs, options.devices, device = "digits", 2, 2, "cpu"
    data = load_dataset(options.dataset, options.root)
    torch.manual_seed(0)  # the same weights on every process
    method = GRACE(data.num_features, hidden=128, tau=0.5)
    found = fit(
        method,
        data,
        TrainingOptions(epochs=options.epochs, lr=1e-3, weight_decay=1e-5),
        folder=options.out,
        device=device,
        batching=Batching("neighbor", batch_size=512, fan_out=(10, 10)),
        devices=options.devices,
        nodes=options.nodes,
    )
    if is_first():
        method.cpu()
        z = method.embed(data.x, data.edge_index)
        print(f"{options.devices * options.nodes} processes, losses {found.losses}")
        print(linear_probe(z, data.y, make_split(data, options.protocol, seed=0)))


if __name__ == "__main__":
    main()
