"""ogbl-biokg or ogbl-wikikg2 with hard negatives, judged by OGB's own candidates and metric.

Dataset: OGB's files below DATA (``ogbl_biokg``), downloaded where absent; or umls and the like,
where candidates are drawn.
Command: python examples/ogb_knowledge_graphs.py --dataset ogbl-biokg --root DATA
Expected: not measured here. Published with ComplEx (OGB's leaderboard): test MRR 0.8095 on biokg.

``inbatch`` contrasts with the batch's answers and a shared pool, exactly filtered; ``hasa`` mines
negatives that the model scores high and adds candidates from the graph. The model is the last one:
nothing is selected.
"""

import argparse
from pathlib import Path

from pykeen.models import model_resolver
from pykeen.training import training_loop_resolver

import kge
from kge.datasets import UnionDataset, load_dataset
from kge.experiment.figures import DRAWN, ogb_figures, ogb_protocol
from kge.ogb_dataset import OGBDataset


def to_draw(asked: int | None, graph: UnionDataset) -> int | None:
    """Candidates of a triple and side, at most the graph's other entities; None for OGB's own."""
    if asked is None and isinstance(graph, OGBDataset):
        return None
    asked, most = asked or DRAWN, graph.num_entities - 1
    if asked > most:
        print(f"{asked} candidates are more than the graph has: {most} are drawn")
    return min(asked, most)


def main() -> None:
    """Train in one of PyKEEN's loops, then rank validation and test as OGB does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ogbl-biokg")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--model", default="complex")
    parser.add_argument("--negatives", choices=("inbatch", "hasa", "uniform"), default="inbatch")
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--candidates", type=int, help=f"default OGB's own, or {DRAWN} drawn")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true", help="nations, two epochs")
    options = parser.parse_args()
    if options.candidates is not None and options.candidates < 1:
        parser.error(f"--candidates must be at least 1, got {options.candidates}")
    if options.smoke:
        options.dataset, options.epochs, options.dim = "nations", 2, 8
    kge.register()
    graph = load_dataset(options.dataset, options.root)
    candidates = to_draw(options.candidates, graph)
    training = graph.training
    model = model_resolver.make(
        options.model,
        triples_factory=training,
        embedding_dim=options.dim,
        loss="hasa" if options.negatives == "hasa" else "nssa",
        random_seed=0,
    ).to(options.device)
    how = {"pool": 1024}
    if options.negatives != "inbatch":
        name = "hasa" if options.negatives == "hasa" else "basic"
        sampling = {"num_negs_per_pos": 32, "filtered": True}
        if name == "hasa":
            sampling["max_degree"] = 1000  # no balls through hubs
        how = {"negative_sampler": name, "negative_sampler_kwargs": sampling}
    loop = training_loop_resolver.make(
        "inbatch" if options.negatives == "inbatch" else "slcwa",
        model=model,
        triples_factory=training,
        optimizer="adagrad",
        optimizer_kwargs={"lr": 0.1},
        **how,
    )
    loop.train(
        training,
        num_epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks="bindmodel",
    )
    print(ogb_protocol(graph, candidates))
    for split in ("validation", "test"):
        found = ogb_figures(model, graph, split, candidates=candidates, seed=0, progress=True)
        print(split, ", ".join(f"{name} {value:.4f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
