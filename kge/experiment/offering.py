"""What a sampler offers for one triple of a graph, given by labels, and how good it is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pykeen.sampling import NegativeSampler, negative_sampler_resolver
from pykeen.training import SLCWATrainingLoop
from torch import Tensor

from kge.datasets import UnionDataset
from kge.experiment.choices import choose, close_to
from kge.experiment.fitting import load_model, sampler_options
from kge.experiment.graph import open_graph
from kge.experiment.keywords import home_of, keywords
from kge.experiment.run_directory import finished_run, seed_folder
from kge.experiment.running import what_was_trained
from kge.experiment.settings import NEGATIVES, SAMPLING
from kge.registration import register
from kge.sampling.hasa import HaSaNegativeSampler, default_structural
from kge.sampling.offers import OfferedNegative, describe_negatives
from kge.sampling.report import SamplerReport, sampler_report
from kge.structure import StructureIndex

SAMPLERS = tuple(name for name in NEGATIVES if name != "inbatch")
"""Kinds of negatives that a sampler of PyKEEN's makes."""

_HOPS = 4


def offer(
    dataset: str | Path,
    sampler: str,
    triple: str,
    *,
    num: int = 10,
    root: str | Path | None = None,
    run: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    draws: int = 1024,
    seed: int = 0,
) -> list[OfferedNegative]:
    """The most frequent negatives of a triple, on each side up to ``num``.

    The sampler has the settings of ``kge train``. Known to be true are the triples of ``train``,
    ``valid`` and ``test``.

    Args:
        dataset: name or directory.
        sampler: one of :data:`SAMPLERS`.
        triple: labels or names of head, relation and tail, apart by tabs or else by spaces.
        num: distinct entities per side.
        root: data root.
        run: a run on the same graph, whose first model mines and scores. Without one ``hasa`` does
            not mine, unless ``hard_share`` is given; its structural candidates come all the same.
        overrides: settings of the sampler.
        draws: negatives drawn to choose from.
        seed: of the draws.

    Raises:
        FileNotFoundError: no such graph.
        ValueError: unknown names or settings, or a run on another graph.

    Example:
        >>> offered = offer("nations", "uniform", "brazil commonbloc0 china", num=2)
        >>> [one.side for one in offered]
        ['head', 'head', 'tail', 'tail']
    """
    if num < 1:
        raise ValueError(f"the number of negatives must be at least 1, got {num}")
    opened = open_sampler(dataset, sampler, root=root, run=run, overrides=overrides)
    graph = opened.graph
    index = StructureIndex(
        graph.training.mapped_triples,
        num_entities=graph.num_entities,
        num_relations=graph.training.real_num_relations,
    )
    clusters = getattr(opened.sampler, "clusters", None)
    asked = ids_of(triple, graph)
    with _nothing_is_trained():
        offered = describe_negatives(
            opened.sampler,
            torch.tensor(asked) * opened.ids,
            num=num,
            draws=draws,
            known=opened.known,
            texts=graph.entity_names,
            clusters=None if clusters is None else clusters.label,
            hops=lambda sources, targets: index.distances(sources, targets, _HOPS),
            score=opened.score,
            seed=seed,
        )
    return [replace(one, triple=(one.triple[0], asked[1], one.triple[2])) for one in offered]


def report(
    dataset: str | Path,
    sampler: str,
    *,
    root: str | Path | None = None,
    run: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    num_negatives: int = 100_000,
    seed: int = 0,
) -> SamplerReport:
    """How many negatives of a sampler are known to be true, how diverse they are, how quick.

    Positives are the training triples; other arguments and errors are those of :func:`offer`.
    Structural columns of ``hasa``, which hold likely true answers, are left out unless
    ``num_structural`` is given.

    Example:
        >>> found = report("nations", "uniform", num_negatives=1000)
        >>> sorted(found.known_rate)
        ['test', 'train', 'valid']
    """
    opened = open_sampler(dataset, sampler, root=root, run=run, overrides=overrides)
    asked = any(key.rpartition(".")[2] == "num_structural" for key in overrides or {})
    if isinstance(opened.sampler, HaSaNegativeSampler) and not asked:
        opened.sampler.leave_out_structural()
    with _nothing_is_trained():
        return sampler_report(
            opened.sampler,
            opened.known["train"],
            opened.known,
            num_negatives=num_negatives,
            seed=seed,
        )


@dataclass
class OpenedSampler:
    """A sampler as for training on a graph, with what it is judged by.

    Attributes:
        sampler: bound to the model of a run, if there is one.
        graph: what it draws from.
        ids: (3,) factors from ids of the graph to the sampler's, which count inverse relations
            where training has such: r becomes 2 r.
        known: true triples by split, in the sampler's ids.
        score: of triples by the model of the run.
        loop: what the sampler has the model from, by a weak reference.
    """

    sampler: NegativeSampler
    graph: UnionDataset
    ids: Tensor
    known: dict[str, Tensor]
    score: Callable[[Tensor], Tensor] | None = None
    loop: SLCWATrainingLoop | None = None


def open_sampler(
    dataset: str | Path,
    sampler: str,
    *,
    root: str | Path | None = None,
    run: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> OpenedSampler:
    """The sampler with the settings of ``kge train``; arguments and errors as of :func:`offer`."""
    register()
    sampler = choose("sampler", sampler.lower(), SAMPLERS)
    options: dict[str, Any] = dict(SAMPLING)
    config: dict[str, Any] | None = None
    if run is None:
        graph = open_graph(dataset, root)
        if sampler == "hasa":
            options["hard_share"] = 0.0
    else:
        folder, config, metrics = finished_run(run)
        settings, graph = what_was_trained(config, root)
        named = open_graph(dataset, root, config["options"]["dataset"]).folder
        if named.resolve() != graph.folder.resolve():
            raise ValueError(f"{folder} was trained on {config['dataset']}, not on {dataset}")
        if config["negatives"] == sampler:
            options |= config["options"]["negatives"]
    known_settings = {"negatives": keywords(negative_sampler_resolver.lookup(NEGATIVES[sampler]))}
    for key, value in (overrides or {}).items():
        options[home_of(key, known_settings)[1]] = value
    if sampler == "hasa" and (config is None or config["loss"] != "hasa"):
        # No loss says how many columns are structural: as many as it would by default.
        few = default_structural(int(options["num_negs_per_pos"]))
        options = {"num_structural": few, **options}
    assert graph.validation is not None
    ids = torch.tensor([1, 2 if graph.training.create_inverse_triples else 1, 1])
    opened = OpenedSampler(
        _sampler(sampler, options, graph),
        graph,
        ids,
        {
            "train": graph.training.mapped_triples * ids,
            "valid": graph.validation.mapped_triples * ids,
            "test": graph.testing.mapped_triples * ids,
        },
    )
    if config is not None:
        weights = seed_folder(folder, metrics["seeds"][0]) / "model.pt"
        model = load_model(weights, graph, settings)
        opened.score = model.score_hrt
        bind = getattr(opened.sampler, "bind", None)
        if bind is not None:
            opened.loop = SLCWATrainingLoop(
                model=model, triples_factory=graph.training, optimizer="sgd"
            )
            with _nothing_is_trained():
                bind(opened.loop)
    return opened


@contextmanager
def _nothing_is_trained() -> Iterator[None]:
    """No loss can mistake a structural column here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*structural columns")
        yield


def ids_of(triple: str, graph: UnionDataset) -> tuple[int, int, int]:
    """Ids of a triple of labels or names.

    Raises:
        ValueError: not three words, or one that the graph does not have.
    """
    words = triple.split("\t") if "\t" in triple else triple.split()
    if len(words) != 3:
        raise ValueError(
            f"a triple has a head, a relation and a tail, got {len(words)} words in {triple!r}; "
            "put tabs between labels that hold spaces"
        )
    head, relation, tail = (word.strip() for word in words)
    entities = graph.entity_to_id, graph.entity_names
    return (
        _id_of("entity", head, *entities),
        _id_of("relation", relation, graph.relation_to_id, graph.relation_names),
        _id_of("entity", tail, *entities),
    )


def _id_of(kind: str, word: str, ids: Mapping[str, int], names: list[str]) -> int:
    if word in ids:
        return ids[word]
    named = [number for number, name in enumerate(names) if name == word]
    if len(named) == 1:
        return named[0]
    if named:
        labels = [label for label, number in ids.items() if number in named]
        raise ValueError(f"{len(named)} entities have the name {word!r}: say {' or '.join(labels)}")
    raise ValueError(f"unknown {kind} {word!r}{close_to(word, [*ids, *names])}")


def _sampler(name: str, options: Mapping[str, Any], graph: UnionDataset) -> NegativeSampler:
    """The sampler as PyKEEN makes it for training, inverse triples included if there are such."""
    training = graph.training
    return negative_sampler_resolver.make(
        NEGATIVES[name],
        sampler_options(name, options, graph),
        mapped_triples=training._add_inverse_triples_if_necessary(training.mapped_triples),
        num_entities=training.num_entities,
        num_relations=training.num_relations,
    )
