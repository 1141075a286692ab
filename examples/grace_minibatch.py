"""GRACE in mini-batches: seeds as anchors, sampled neighbourhoods, and a queue of earlier keys.

Dataset: ogbn-products (2.4 million nodes, 62 million undirected edges), or any other by name.
Command: python examples/grace_minibatch.py --dataset ogbn-products --root DATA --epochs 5
Expected: not measured here. With --smoke (digits, three epochs): a test accuracy of about 0.96.

The loop is plain PyTorch; ``graphcl train --loader neighbor`` does the same with checkpoints.
"""

import argparse
import time
from pathlib import Path

import torch

from graphcl.data import load_dataset
from graphcl.losses import CandidatePool, CandidateQueue
from graphcl.methods import GRACE
from graphcl.minibatch import Batching, make_loader
from graphcl.probes import linear_probe, make_split
from graphcl.train.fitting import peak_memory


def main() -> None:
    """Train in batches, embed all nodes on the CPU and probe the embeddings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ogbn-products")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--protocol", default="random10", help="see graphcl datasets")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--queue", type=int, default=0, help="keys of earlier batches")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true", help="digits, three epochs, small batches")
    options = parser.parse_args()
    if options.smoke:
        options.dataset, options.epochs, options.batch_size = "digits", 3, 256
        options.device, options.queue = "cpu", 512
    data = load_dataset(options.dataset, options.root)
    torch.manual_seed(0)
    method = GRACE(data.num_features, hidden=128, tau=0.5).to(options.device)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3, weight_decay=1e-5)

    batching = Batching("neighbor", options.batch_size, fan_out=(10, 10), queue=options.queue)
    loader = make_loader(data, batching)
    pool = CandidatePool(CandidateQueue(options.queue) if options.queue else None)
    method.know_whole_graph(data.x, data.edge_index)
    for epoch in range(options.epochs):
        loader.set_epoch(epoch)
        started, total = time.perf_counter(), 0.0
        for batch in loader:
            method.train()
            optimizer.zero_grad()
            loss = method.seed_loss(batch.to(options.device), pool)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) / len(loader)
        seconds = time.perf_counter() - started
        print(
            f"epoch {epoch}: loss {total:.4f}, {len(loader)} steps in {seconds:.1f} s", flush=True
        )

    # One pass over the whole graph: no gradients, no (edges, width) tensor.
    z = method.cpu().embed(data.x, data.edge_index)
    print(linear_probe(z, data.y, make_split(data, options.protocol, seed=0)))
    peak = peak_memory(torch.device("cpu")) / 2**20
    print(f"peak memory of the process {peak:.0f} MiB")


if __name__ == "__main__":
    main()
