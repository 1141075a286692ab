"""OGB's knowledge graphs: ids alone, OGB's order and candidates, figures of OGB's evaluator."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphcl.ranking.ogb_files import import_ogb, quiet_ogb
from kge import ogb_counts, ogb_dataset
from kge.datasets import OGBDataset, UnionDataset, load_dataset
from kge.experiment.figures import ogb_figures
from kge.experiment.fitting import load_model, model_options, sampler_options
from kge.experiment.run_directory import finished_run
from kge.experiment.running import evaluate_run, run_experiment, settings_of_run
from kge.ogb_counts import Counts
from kge.ogb_dataset import NumberLabels

KINDS = {"disease": 9, "drug": 7, "protein": 12}
PARTS = {"train": 60, "valid": 11, "test": 14}
Split = dict[str, dict[str, Any]]


def biokg() -> Split:
    """Triples within and across types; the last disease is isolated."""
    draw, split = np.random.default_rng(0), {}
    for part, count in PARTS.items():
        types = [list(KINDS)[i] for i in draw.integers(3, size=(2 * count))]
        heads, tails = types[:count], types[count:]
        top = {kind: size - (kind == "disease") for kind, size in KINDS.items()}
        split[part] = {
            "head_type": heads,
            "head": np.array([draw.integers(top[one]) for one in heads]),
            "relation": draw.integers(4, size=count),
            "tail_type": tails,
            "tail": np.array([draw.integers(top[one]) for one in tails]),
        }
        if part != "train":
            split[part] |= {
                f"{side}_neg": np.stack([draw.integers(top[one], size=20) for one in kinds])
                for side, kinds in (("head", heads), ("tail", tails))
            }
    return split


def wikikg() -> Split:
    draw, split = np.random.default_rng(1), {}
    for part, count in PARTS.items():
        split[part] = {
            "head": draw.integers(27, size=count),
            "relation": draw.integers(4, size=count),
            "tail": draw.integers(27, size=count),
        }
        if part != "train":
            for side in ("head", "tail"):
                split[part][f"{side}_neg"] = draw.integers(28, size=(count, 20))
    return split


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both graphs as ogb's DatasetSaver writes them, where ogb's loaders keep them."""
    counts = Counts(28, 4, *PARTS.values())
    for name in ("ogbl-biokg", "ogbl-wikikg2"):
        monkeypatch.setitem(ogb_counts.OGB_COUNTS, name, counts)
        hetero = name == "ogbl-biokg"
        split = biokg() if hetero else wikikg()
        train = split["train"]
        graph: dict[str, Any] = {
            "edge_index": np.stack([train["head"], train["tail"]]),
            "edge_reltype": train["relation"][:, None],
            "num_nodes": 28,
        }
        if hetero:
            edges: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
            columns = [train[key] for key in ("head_type", "relation", "tail_type")]
            for i, (h, r, t) in enumerate(zip(*columns, strict=True)):
                at = edges.setdefault((h, f"r{r}", t), [])
                at.append((int(train["head"][i]), int(train["tail"][i])))
            graph = {
                "edge_index_dict": {kind: np.array(pairs).T for kind, pairs in edges.items()},
                "num_nodes_dict": KINDS,
            }
        with quiet_ogb():
            saver = import_ogb("ogb.io").DatasetSaver(name, hetero, 1, str(tmp_path / "made"))
            saver.save_graph_list([graph])
            saver.save_split(split, "random" if hetero else "time")
        Path(saver.dataset_dir).rename(tmp_path / name.replace("-", "_"))
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_biokg_counts_types_one_after_the_other(root: Path) -> None:
    graph, split = load_dataset("OGBL-biokg", root), biokg()
    assert isinstance(graph, OGBDataset)
    assert (graph.num_entities, graph.num_relations) == (28, 4)  # the isolated disease too
    assert graph.entity_names[8:10] == ["disease:8", "drug:0"]
    factories = {"train": graph.training, "valid": graph.validation, "test": graph.testing}
    for part, factory in factories.items():
        assert factory is not None
        given = split[part]
        named = [
            tuple(graph.entity_to_id[f"{kind}:{i}"] for kind, i in zip(kinds, ids, strict=True))
            for kinds, ids in (
                (given["head_type"], given["head"]),
                (given["tail_type"], given["tail"]),
            )
        ]
        assert factory.mapped_triples[:, 0].tolist() == list(named[0])
        assert factory.mapped_triples[:, 1].tolist() == given["relation"].tolist()
        assert factory.mapped_triples[:, 2].tolist() == list(named[1])
    own = graph.candidates("test")
    for side in ("head", "tail"):
        kinds, ids = split["test"][f"{side}_type"], split["test"][f"{side}_neg"]
        wanted = [
            [graph.entity_to_id[f"{kind}:{i}"] for i in row]
            for kind, row in zip(kinds, ids, strict=True)
        ]
        assert own[side].tolist() == wanted


def test_wikikg2_keeps_ogbs_numbers(root: Path) -> None:
    graph, split = load_dataset("ogbl-wikikg2", root), wikikg()
    assert isinstance(graph, OGBDataset)
    assert graph.num_entities == 28
    assert graph.entity_to_id["13"] == 13
    assert graph.testing.mapped_triples[:, 0].tolist() == split["test"]["head"].tolist()
    assert graph.candidates("validation")["tail"].tolist() == split["valid"]["tail_neg"].tolist()
    unseen = {*split["test"]["head"], *split["test"]["tail"]} - {
        *split["train"]["head"],
        *split["train"]["tail"],
    }
    assert bool(graph.report.unseen["test"]) == bool(unseen)


@pytest.mark.parametrize("name", ["ogbl-biokg", "ogbl-wikikg2"])
@pytest.mark.parametrize("model", ["distmult", "transe"])
def test_figures_are_those_of_ogbs_evaluator(
    name: str, model: str, root: Path, tmp_path: Path
) -> None:
    settings = {"embedding_dim": 4, "batch_size": 16, "num_negs_per_pos": 2}
    options = {"root": root, "progress": False, "device": "cpu"}
    run = tmp_path / "run"
    run_experiment(name, model, "uniform", run, epochs=2, overrides=settings, **options)
    metrics = evaluate_run(run, protocol="ogb", **options)
    assert metrics["protocol"] == "candidates: OGB's own of each triple and side"
    assert metrics["graph"]["entities"] == 28
    graph = load_dataset(name, root)
    assert isinstance(graph, OGBDataset)
    config = finished_run(run)[1]
    trained = load_model(run / "seed-0" / "model.pt", graph, settings_of_run(config))
    evaluator = import_ogb("ogb.linkproppred").Evaluator(name)
    for split, prefix in (("validation", "validation_"), ("test", "")):
        triples = (graph.validation if split == "validation" else graph.testing).mapped_triples
        theirs: dict[str, list[torch.Tensor]] = {}
        for side, column in (("head", 0), ("tail", 2)):
            ids = graph.candidates(split)[side].long()
            made = triples[:, None].repeat(1, ids.shape[1], 1)
            made[..., column] = ids
            with torch.no_grad():
                positive = trained.score_hrt(triples)[:, 0]
                negative = trained.score_hrt(made.view(-1, 3)).view(len(triples), -1)
            found = evaluator.eval({"y_pred_pos": positive, "y_pred_neg": negative})
            for key, values in found.items():
                theirs.setdefault(key.removesuffix("_list"), []).append(values)
        for key, values in theirs.items():
            mean = float(torch.cat(values).double().mean())
            assert metrics["metrics"][f"{prefix}{key}"]["mean"] == mean


def test_a_number_of_candidates_draws_them(root: Path) -> None:
    from pykeen.models import DistMult

    graph = load_dataset("ogbl-biokg", root)
    model = DistMult(triples_factory=graph.training, embedding_dim=4, random_seed=0)
    own = ogb_figures(model, graph, "test")
    drawn = ogb_figures(model, graph, "test", candidates=3)
    assert own == ogb_figures(model, graph, "test", seed=5)
    assert drawn["mrr"] > own["mrr"]


def test_entity_counts_as_released(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with gzip.open(raw / "num-node-dict.csv.gz", "wt") as file:
        file.write("protein,disease\n12,9\n")
    assert list(ogb_dataset._entity_counts(tmp_path).items()) == [("disease", 9), ("protein", 12)]
    (raw / "num-node-dict.csv.gz").unlink()
    with gzip.open(raw / "num-node-list.csv.gz", "wt") as file:
        file.write("2500604\n")
    assert ogb_dataset._entity_counts(tmp_path) == {"": 2_500_604}
    (raw / "num-node-list.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match="no file with the number of nodes"):
        ogb_dataset._entity_counts(tmp_path)


def test_what_is_not_ogbs_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unseen='drop' is not its own"):
        load_dataset("ogbl-biokg", root, unseen="drop")
    with pytest.raises(ValueError, match="no graph 'nations'"):
        OGBDataset("nations")
    monkeypatch.setitem(ogb_counts.OGB_COUNTS, "ogbl-biokg", Counts(28, 4, 61, 11, 14))
    with pytest.raises(ValueError, match=r"train=60, .* instead of .*train=61"):
        load_dataset("ogbl-biokg", root)
    assert not isinstance(load_dataset("nations"), OGBDataset)
    assert issubclass(OGBDataset, UnionDataset)


def test_numbers_are_not_taken_for_texts(root: Path) -> None:
    graph = load_dataset("ogbl-biokg", root)
    with pytest.raises(ValueError, match="has numbers and no texts: give texts, embeddings or"):
        sampler_options("lemon", {}, graph)
    with pytest.raises(ValueError, match="has numbers and no texts: give entity_texts"):
        model_options("hasatext", {}, graph)
    ready = {"encoder": "vectors.npy"}  # no text is read then
    assert model_options("hasatext", ready, graph) == ready
    assert sampler_options("lemon", {"labels": [0] * 28}, graph) == {"labels": [0] * 28}


def test_offline_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setenv("GRAPHCL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"'ogbl-wikikg2' is not .*no network"):
        load_dataset("ogbl-wikikg2", tmp_path)


def test_number_labels() -> None:
    labels = NumberLabels({"a": 2, "b": 1})
    assert dict(labels) == {"a:0": 0, "a:1": 1, "b:0": 2}
    assert len(labels) == 3
    for wrong in ("a:2", "c:0", "0", "a:-1", "a"):
        assert wrong not in labels
    assert dict(NumberLabels({"": 2})) == {"0": 0, "1": 1}


def test_summary_and_stored_copy(root: Path, tmp_path: Path) -> None:
    graph = load_dataset("ogbl-biokg", root)
    assert "OGB" in graph.summary_str() or "ogbl-biokg" in graph.summary_str()
    graph.to_directory_binary(tmp_path / "copy")
    copy = OGBDataset.from_directory_binary(tmp_path / "copy")
    assert torch.equal(copy.testing.mapped_triples, graph.testing.mapped_triples)
    assert copy.num_entities == graph.num_entities
