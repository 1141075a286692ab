"""Splits are checked against hand-made indices, masks and published sizes."""

import shutil

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

from graphcl.probes import PROTOCOLS, Split, make_split


def as_sets(split):
    return [set(part.tolist()) for part in (split.train, split.validation, split.test)]


def mask(num_nodes, nodes):
    out = torch.zeros(num_nodes, dtype=torch.bool)
    out[nodes] = True
    return out


def planetoid(val, test, num_nodes=2708, num_classes=7):
    return Data(
        y=torch.arange(num_nodes) % num_classes,
        train_mask=mask(num_nodes, torch.arange(20 * num_classes)),
        val_mask=mask(num_nodes, torch.arange(140, 140 + val)),
        test_mask=mask(num_nodes, torch.arange(num_nodes - test, num_nodes)),
    )


def wikics(num_nodes=60):
    order = torch.stack([torch.randperm(num_nodes - 30) for _ in range(20)], dim=1)
    return Data(
        y=torch.arange(num_nodes) % 3,
        train_mask=torch.stack([mask(num_nodes, order[:6, i]) for i in range(20)], dim=1),
        val_mask=torch.stack([mask(num_nodes, order[6:18, i]) for i in range(20)], dim=1),
        test_mask=mask(num_nodes, torch.arange(num_nodes - 30, num_nodes)),
    )


@pytest.mark.parametrize(
    ("protocol", "labelled", "sizes"),
    [
        ("random10", 100, (10, 10, 80)),
        ("random10", 57, (5, 5, 47)),
        ("random10", 10, (1, 1, 8)),
        ("bgrl20", 57, (11, 0, 46)),
        ("bgrl20", 5, (1, 0, 4)),
    ],
)
def test_drawn_splits_cover_the_labelled_nodes_with_their_sizes(protocol, labelled, sizes):
    y = torch.full((labelled + 7,), -1)
    nodes = torch.randperm(labelled + 7)[:labelled]
    y[nodes] = nodes % 3
    split = make_split(Data(y=y), protocol, seed=4)
    assert split.sizes == sizes
    assert split.seed == 4
    assert set.union(*as_sets(split)) == set(nodes.tolist())


@pytest.mark.parametrize("protocol", ["random10", "bgrl20"])
def test_drawn_splits_follow_their_seed(protocol):
    data = Data(y=torch.arange(200) % 4)
    first, again, other = (make_split(data, protocol, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test, again.test)
    assert as_sets(first)[0] != as_sets(other)[0]


def test_drawn_nodes_are_uniform():
    data = Data(y=torch.zeros(20, dtype=torch.int64))
    counts = torch.zeros(20)
    for seed in range(600):
        counts[make_split(data, "random10", seed=seed).train] += 1
    # 600 draws of 2 of 20: expected 60, deviation 7.3.
    assert (counts - 60).abs().max() < 30


def test_public_split_equals_the_masks():
    data = planetoid(500, 1000)
    split = make_split(data, "public")
    assert split.sizes == (140, 500, 1000)
    assert split.seed is None
    assert torch.equal(split.train, data.train_mask.nonzero().flatten())
    assert torch.equal(split.validation, data.val_mask.nonzero().flatten())
    assert torch.equal(split.test, data.test_mask.nonzero().flatten())


def test_public_split_leaves_out_unlabelled_nodes():
    data = planetoid(50, 90, num_nodes=500)
    data.y[[0, 150, 499]] = -1
    assert make_split(data, "public").sizes == (139, 49, 89)


def test_swapped_planetoid_masks_are_an_error():
    with pytest.raises(ValueError, match=r"1000 validation, 500 test.*swapped"):
        make_split(planetoid(1000, 500), "public")


def test_planetoid_masks_of_another_split_are_an_error():
    with pytest.raises(ValueError, match=r"\(140, 500, 1000\).*\(140, 400, 1000\)"):
        make_split(planetoid(400, 1000), "public")


def test_swapped_parts_do_not_verify_against_the_masks():
    data = planetoid(50, 90, num_nodes=500)
    good = make_split(data, "public")
    swapped = Split("public", good.train, validation=good.test, test=good.validation)
    with pytest.raises(ValueError, match="0 of 90 validation nodes are among the 50"):
        swapped.verify(data)
    more = torch.cat([good.validation, torch.tensor([300])])
    with pytest.raises(ValueError, match="50 of 51 validation nodes are among the 50"):
        Split("public", good.train, more, good.test).verify(data)
    part = Split("public", good.train, good.validation, good.test[:-1])
    with pytest.raises(ValueError, match="89 of 89 test nodes are among the 90"):
        part.verify(data)


def test_wikics_seed_is_the_column():
    data = wikics()
    for seed, column in ((0, 0), (3, 3), (23, 3)):
        split = make_split(data, "wikics20", seed=seed)
        assert torch.equal(split.train, data.train_mask[:, column].nonzero().flatten())
        assert torch.equal(split.validation, data.val_mask[:, column].nonzero().flatten())
        assert torch.equal(split.test, data.test_mask.nonzero().flatten())
    with pytest.raises(ValueError, match="must be the same"):
        Split("wikics20", split.train, split.validation, split.test, seed=4).verify(data)
    with pytest.raises(ValueError, match="increase from train"):
        Split("wikics20", split.train, split.test, split.validation, seed=3)
    with pytest.raises(ValueError, match="give the seed"):
        Split("wikics20", split.train, split.validation, split.test)


def test_masks_of_the_wrong_kind_are_named():
    with pytest.raises(ValueError, match=r"train_mask must be bool of shape \(2708, 20\)"):
        make_split(planetoid(500, 1000), "wikics20")
    with pytest.raises(ValueError, match=r"train_mask must be bool of shape \(60,\)"):
        make_split(wikics(), "public")
    with pytest.raises(ValueError, match="no train_mask"):
        make_split(Data(y=torch.zeros(5, dtype=torch.int64)), "public")


@pytest.mark.parametrize("count", [20, 60])
def test_labels_per_class_draws_the_count_of_each_class(count):
    y = torch.arange(2400) % 5
    y[:100] = -1
    split = make_split(Data(y=y), "labels_per_class", seed=3, count=count)
    assert torch.bincount(y[split.train]).tolist() == [count] * 5
    assert split.sizes == (5 * count, 1000, 1000)
    assert min(set.union(*as_sets(split))) >= 100
    again = make_split(Data(y=y), "labels_per_class", seed=3, count=count)
    assert torch.equal(split.train, again.train)


def test_labels_per_class_takes_stored_lists():
    y = torch.arange(2400) % 2
    lists = {
        "train": torch.tensor([0, 1, 2, 3, 4, 5]),
        "val": torch.arange(100, 1100),
        "test": torch.arange(1200, 2200),
    }
    split = make_split(Data(y=y, splits={3: lists}), "labels_per_class", seed=9, count=3)
    assert split.seed is None
    assert as_sets(split) == [set(part.tolist()) for part in lists.values()]
    with pytest.raises(ValueError, match=r"counts \[3\], not 20"):
        make_split(Data(y=y, splits={3: lists}), "labels_per_class", count=20)
    lists["train"] = torch.tensor([0, 1, 2, 3, 4, 4])
    with pytest.raises(ValueError, match=r"\[4, 2\] labels of classes \[0, 1\], expected 3"):
        make_split(Data(y=y, splits={3: lists}), "labels_per_class", count=3)
    lists["train"] = torch.tensor([0, 1, 2, 3, 5, 4000])
    with pytest.raises(ValueError, match="names node 4000 of 2400"):
        make_split(Data(y=y, splits={3: lists}), "labels_per_class", count=3)


def test_stored_lists_with_a_repeated_training_node_keep_it_once():
    y = torch.arange(2400) % 2
    lists = {
        "train": torch.tensor([0, 1, 2, 3, 2, 5]),
        "val": torch.arange(100, 1100),
        "test": torch.arange(1200, 2200),
    }
    split = make_split(Data(y=y, splits={3: lists}), "labels_per_class", count=3)
    assert split.train.tolist() == [0, 1, 2, 3, 5]
    lists["test"] = torch.arange(1099, 2099)
    with pytest.raises(ValueError, match="validation and test share 1 nodes"):
        make_split(Data(y=y, splits={3: lists}), "labels_per_class", count=3)


def test_labels_per_class_needs_enough_nodes():
    with pytest.raises(ValueError, match=r"fewer than 20 labelled nodes: \{1: 4\}"):
        make_split(Data(y=torch.tensor([0] * 3000 + [1] * 4)), "labels_per_class", seed=0, count=20)
    with pytest.raises(ValueError, match="1999 labelled nodes remain"):
        make_split(Data(y=torch.arange(2039) % 2), "labels_per_class", count=20)


def test_count_belongs_to_labels_per_class_alone():
    data = Data(y=torch.arange(3000) % 2)
    with pytest.raises(ValueError, match="count=None"):
        make_split(data, "labels_per_class")
    with pytest.raises(ValueError, match="count=20"):
        make_split(data, "random10", count=20)


def test_train_with_too_many_labels_of_a_class_does_not_verify():
    data = Data(y=torch.arange(2400) % 2)
    split = make_split(data, "labels_per_class", count=20)
    with pytest.raises(ValueError, match=r"\[20, 20\] labels per class, expected 10"):
        split.verify(data, count=10)


def test_ten_eighty_ten_is_an_error():
    order = torch.randperm(100)
    with pytest.raises(ValueError, match="10 train, 80 validation, 10 test"):
        Split("random10", order[:10], order[10:90], order[90:])
    with pytest.raises(ValueError, match="80 train, 10 validation, 10 test"):
        Split("random10", order[:80], order[80:90], order[90:])
    with pytest.raises(ValueError, match="80 train, 0 validation, 20 test"):
        Split("bgrl20", order[:80], order[:0], order[80:])


def test_split_of_a_part_of_the_labels_does_not_verify():
    order = torch.randperm(100)
    split = Split("random10", order[:5], order[5:10], order[10:50])
    with pytest.raises(ValueError, match="50 of 100 labelled"):
        split.verify(Data(y=torch.zeros(100, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0, 1], [2, 2], [3]), "validation names 1 of its 2 nodes again"),
        (([0, 1], [1, 2], [3]), "train and validation share 1"),
        (([0, 1], [2], [3, 0, 1]), "train and test share 2"),
        (([0, 1], [2], [3, 2]), "validation and test share 1"),
        (([0, -1], [2], [3]), "train holds 1 negative"),
        (([0, 1], [], [3]), "no part may be empty"),
        (([0, 1], [2], []), "no part may be empty"),
    ],
)
def test_bad_indices_are_named(parts, message):
    with pytest.raises(ValueError, match=message):
        Split("public", *(torch.tensor(part, dtype=torch.int64) for part in parts))


def test_masks_in_place_of_indices_are_an_error():
    part = torch.tensor([True, False, False])
    with pytest.raises(ValueError, match="train must be an int64 vector"):
        Split("public", part, torch.tensor([1]), torch.tensor([2]))


def test_verify_checks_range_and_labels():
    data = planetoid(50, 90, num_nodes=500)
    split = make_split(data, "public")
    with pytest.raises(ValueError, match="test names node 499, there are 400"):
        split.verify(Data(y=data.y[:400]))
    data.y[0] = -1
    with pytest.raises(ValueError, match="train holds 1 nodes without a label"):
        split.verify(data)


def test_unknown_protocol_lists_the_known():
    with pytest.raises(ValueError, match="'rand:0.1'.*" + ".*".join(PROTOCOLS)):
        make_split(Data(y=torch.arange(10)), "rand:0.1")


def test_data_without_labels_are_an_error():
    with pytest.raises(ValueError, match="no labels y"):
        make_split(Data(x=torch.zeros(3, 1)), "random10")
    with pytest.raises(ValueError, match="integer class numbers"):
        make_split(Data(y=torch.rand(30)), "random10")


def test_heterogeneous_data_use_their_one_labelled_type():
    data = HeteroData()
    data["author"].x = torch.zeros(7, 1)
    data["paper"].y = torch.arange(50) % 2
    assert make_split(data, "random10").sizes == (5, 5, 40)
    assert torch.equal(
        make_split(data, "random10").train, make_split(data["paper"], "random10").train
    )
    data["author"].y = torch.zeros(7, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\['author', 'paper'\]"):
        make_split(data, "random10")


@pytest.mark.real_data
def test_real_cora_has_the_public_split(data_root, tmp_path):
    from torch_geometric.datasets import Planetoid

    shutil.copytree(data_root / "Planetoid" / "Cora" / "raw", tmp_path / "Cora" / "raw")
    data = Planetoid(str(tmp_path), "Cora")[0]
    split = make_split(data, "public")
    assert split.sizes == (140, 500, 1000)
    assert split.validation.tolist() == list(range(140, 640))
    assert split.test.tolist() == list(range(1708, 2708))
    data.val_mask, data.test_mask = data.test_mask, data.val_mask
    with pytest.raises(ValueError, match="swapped"):
        make_split(data, "public")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "classes"), [("acm", 3), ("dblp", 4), ("freebase", 3), ("imdb", 3)]
)
def test_real_stored_lists_have_their_sizes(data_root, name, classes):
    folder = data_root / "Hetero" / name
    y = torch.from_numpy(np.load(folder / "labels.npy").astype(np.int64))
    data = Data(y=y)
    data.splits = {
        count: {
            part: torch.from_numpy(np.load(folder / f"{part}_{count}.npy").astype(np.int64))
            for part in ("train", "val", "test")
        }
        for count in (20, 40, 60)
    }
    for count in (20, 40, 60):
        train, validation, test = make_split(data, "labels_per_class", count=count).sizes
        repeats = {("imdb", 40): 1, ("imdb", 60): 5}.get((name, count), 0)
        assert (train, validation, test) == (count * classes - repeats, 1000, 1000)
