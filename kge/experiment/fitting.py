"""One training run by PyKEEN's pipeline, in a folder where it can be continued."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pykeen.losses import loss_resolver
from pykeen.models import model_resolver
from pykeen.pipeline import pipeline
from pykeen.training import NonFiniteLossError

from graphcl.ranking.report import RankReport
from kge.datasets import UnionDataset
from kge.evaluation.fused_rank_based import FusedRankBasedEvaluator
from kge.experiment.callbacks import BestWeights, SafeCheckpoint
from kge.experiment.files import replacing
from kge.experiment.keywords import keywords
from kge.experiment.settings import NEGATIVES, STOPPING_METRICS, Settings
from kge.ogb_dataset import OGBDataset
from kge.text.sentences import sentences
from kge.training.adamw import AdamW
from kge.training.gradient_clipping import ClipGradients

if TYPE_CHECKING:
    from pykeen.models import Model

_NEVER = 10**9
_LONG = 1_000_000
"""With more training triples, progress is shown within epochs and in early stopping too."""
_FILES = ("encoder", "embeddings", "texts", "entity_texts", "relation_texts", "labels")
"""Settings that may name a file or a folder to be read."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes:
        model: with the weights that were best on validation.
        validation: its ranks on validation.
        losses: of training, by epoch.
        seconds: of training, by epoch.
        validated: the stopping metric by epoch, where it was looked at.
        best_epoch: whose weights the model has.
        stopped: whether training ended for want of gain.
        continued_from: epoch that an earlier call had come to, 0 for none.
    """

    model: Model
    validation: RankReport
    losses: list[float]
    seconds: list[float]
    validated: dict[int, float]
    best_epoch: int
    stopped: bool
    continued_from: int


def fit(
    graph: UnionDataset,
    settings: Settings,
    folder: Path,
    *,
    seed: int = 0,
    device: torch.device = _CPU,
    progress: bool = True,
    checkpoint_seconds: float = 10.0,
) -> Fitted:
    """Train one model; called again after an interruption it goes on from the checkpoint.

    Early stopping and the choice of the epoch look at validation alone; test triples are not used.

    Raises:
        FloatingPointError: the loss, a gradient or a score became NaN or infinite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, best = folder / "checkpoint.ckpt", folder / "best.pt"
    if not checkpoint.exists():
        for rest in (best, folder / "parts.json"):  # of a run that came to no checkpoint
            rest.unlink(missing_ok=True)
    options = settings.options
    stopping = options["stopping"]
    watch = SafeCheckpoint(checkpoint, settings.epochs, checkpoint_seconds)
    evaluator = FusedRankBasedEvaluator(most=stopping.get("validation_triples") or None)
    training, clipping = _without_clipping(options["training"])
    with _quiet(), _diverging(settings):
        result = pipeline(
            dataset=graph,
            model=settings.model,
            model_kwargs=model_options(settings.model, options["model"], graph),
            loss=settings.loss,
            loss_kwargs=options["loss"],
            optimizer=AdamW if settings.optimizer == "adamw" else settings.optimizer,
            optimizer_kwargs=options["optimizer"],
            **_source(settings, graph, device),
            epochs=settings.epochs,
            training_kwargs={
                **training,
                **watch.parts(),
                "callbacks": [watch, BestWeights(best), "bindmodel", *clipping],
                "checkpoint_directory": str(folder),
                "checkpoint_name": checkpoint.name,
                "checkpoint_frequency": 0,
                "use_tqdm_batch": progress and graph.training.num_triples > _LONG,
                "pin_memory": device.type == "cuda",
                "tqdm_kwargs": {"desc": f"{settings.model}, {settings.negatives}, seed {seed}"},
            },
            stopper="early",
            stopper_kwargs={
                "metric": STOPPING_METRICS[stopping["metric"]],
                "frequency": stopping["frequency"],
                "patience": stopping["patience"] or _NEVER,
                "relative_delta": stopping["relative_delta"],
                "use_tqdm": progress and graph.training.num_triples > _LONG,
                "best_model_path": best,
                "clean_up_checkpoint": False,
            },
            evaluator=evaluator,  # type: ignore[arg-type]  # an instance is taken as it is
            use_testing_data=False,
            device=device,
            random_seed=seed,
            use_tqdm=progress,
        )
    assert evaluator.report is not None
    losses = list(result.losses)
    if not watch.seconds:  # PyKEEN calls no callback where an earlier call had stopped early
        watch.go_on_from(len(losses))
    stopper: Any = result.stopper
    every = stopping["frequency"]
    return Fitted(
        model=result.model,
        validation=evaluator.report,
        losses=losses,
        seconds=watch.seconds,
        validated={every * (i + 1): float(one) for i, one in enumerate(stopper.results)},
        best_epoch=stopper.best_epoch or len(losses),
        stopped=bool(stopper.stopped),
        continued_from=watch.continued_from,
    )


def sampler_options(
    negatives: str, options: Mapping[str, Any], graph: UnionDataset
) -> dict[str, Any]:
    """Keyword arguments of a sampler; without another source LEMON gets the graph's own texts."""
    found = dict(options)
    if negatives == "lemon":
        if all(found.get(source) is None for source in ("texts", "embeddings", "labels")):
            _check_texts(graph, "texts, embeddings or labels")
            found["texts"] = graph.entity_texts
        elif isinstance(found.get("texts"), str) and found.get("entity_ids") is None:
            found["entity_ids"] = sorted(graph.entity_to_id, key=graph.entity_to_id.__getitem__)
    return found


def model_options(model: str, options: Mapping[str, Any], graph: UnionDataset) -> dict[str, Any]:
    """Keyword arguments of a model; without a file, models of texts get the graph's own texts."""
    found = dict(options)
    takes = keywords(model_resolver.lookup(model), inherited=False)
    if str(found.get("encoder", "")).endswith(".npy"):  # ready vectors: no text is read
        return found
    if "entity_texts" in takes and found.get("entity_texts") is None:
        _check_texts(graph, "entity_texts")
        names, descriptions = graph.entity_names, graph.entity_descriptions
        found["entity_texts"] = sentences(names, descriptions)
    if "relation_texts" in takes and found.get("relation_texts") is None:
        found["relation_texts"] = [name.replace("_", " ").strip() for name in graph.relation_names]
    return found


def with_whole_paths(settings: Settings) -> Settings:
    """Settings whose files are found from everywhere: names of what is there become whole paths."""
    options = {section: dict(given) for section, given in settings.options.items()}
    for given in (options["model"], options["negatives"]):
        for name in _FILES:
            if isinstance(given.get(name), str | Path) and str(given[name]) not in ("", "tfidf"):
                place = Path(given[name]).expanduser()
                given[name] = str(place.resolve()) if place.exists() else str(given[name])
    return replace(settings, options=options)


def _check_texts(graph: UnionDataset, instead: str) -> None:
    if isinstance(graph, OGBDataset):
        raise ValueError(
            f"{graph.name} has numbers and no texts: give {instead} of your own, or choose a model "
            "and negatives that read none"
        )


def texts_digest(settings: Settings, graph: UnionDataset) -> str | None:
    """Digest of the texts that a run reads from its graph's folder, and of the files it names.

    None where it reads none.
    """
    options = settings.options
    given = {**options["model"], **options["negatives"]}
    used = {
        **model_options(settings.model, options["model"], graph),
        **sampler_options(settings.negatives, options["negatives"], graph),
    }
    added = {
        name: list(used[name])
        for name in ("texts", "entity_texts", "relation_texts")
        if used.get(name) is not None and given.get(name) is None
    }
    for name, place in named_files(settings).items():
        if place.exists():
            added[name] = _file_digests(place)
    if not added:
        return None
    return hashlib.sha256(json.dumps(added, sort_keys=True).encode()).hexdigest()[:16]


def named_files(settings: Settings) -> dict[str, Path]:
    """Files and folders by setting, as :func:`with_whole_paths` has written them."""
    given = {**settings.options["model"], **settings.options["negatives"]}
    places = {name: Path(given[name]) for name in _FILES if isinstance(given.get(name), str | Path)}
    return {name: place for name, place in places.items() if place.is_absolute()}


def _file_digests(place: Path) -> list[str]:
    """Of a file, or of the files of a folder, in the order of their names."""
    files = [place]
    if place.is_dir():
        files = sorted(one for one in place.rglob("[!.]*") if one.is_file())
    found = []
    for one in files:
        with open(one, "rb") as content:
            found.append(hashlib.file_digest(content, "sha256").hexdigest())
    return found


def save_model(path: Path, model: Model) -> None:
    """Write a model's weights."""
    with replacing(path) as file:
        torch.save(model.state_dict(), file)


def load_model(
    path: Path, graph: UnionDataset, settings: Settings, device: torch.device = _CPU
) -> Model:
    """A model with the weights of a file, ready to score."""
    loss = loss_resolver.make(settings.loss, settings.options["loss"]) if settings.loss else None
    with _quiet():
        model: Model = model_resolver.make(
            settings.model,
            triples_factory=graph.training,
            loss=loss,
            random_seed=0,
            **model_options(settings.model, settings.options["model"], graph),
        )
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.to(device).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyKEEN's notes from the terminal, but not its warnings.

    Of the stopper's warnings there is one alone, that it goes on writing the best weights.
    """
    levels = {"pykeen": logging.WARNING, "pykeen.stoppers": logging.ERROR}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _diverging(settings: Settings) -> Iterator[None]:
    """Say which run diverged; PyKEEN says no more than that a loss is not finite."""
    try:
        yield
    except NonFiniteLossError:
        raise FloatingPointError(
            f"training {settings.model} with lr={settings.options['optimizer'].get('lr')} has "
            "diverged: the loss is NaN or infinite; lower lr"
        ) from None


def _without_clipping(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[ClipGradients]]:
    """The options of training, and in place of those of clipping the callback that does it."""
    start = "gradient_clipping_"
    others = {name: value for name, value in options.items() if not name.startswith(start)}
    given = {
        name.removeprefix(start): value
        for name, value in options.items()
        if name.startswith(start) and value is not None
    }
    return others, [ClipGradients(**given)] if given else []


def _source(settings: Settings, graph: UnionDataset, device: torch.device) -> dict[str, Any]:
    """The pipeline's arguments for the negatives."""
    options = settings.options["negatives"]
    # Where memory runs out on a CPU, there is no exception to learn from.
    loop = {"automatic_memory_optimization": device.type == "cuda"}
    if settings.negatives == "inbatch":
        return {"training_loop": "inbatch", "training_loop_kwargs": {**options, **loop}}
    return {
        "training_loop": "slcwa",
        "training_loop_kwargs": loop,
        "negative_sampler": NEGATIVES[settings.negatives],
        "negative_sampler_kwargs": sampler_options(settings.negatives, options, graph),
    }
