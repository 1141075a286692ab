"""Texts that a language model reads in place of the ids of a knowledge graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kge.text.entity_texts import check_texts
from kge.triple_files import read_texts

Texts = Sequence[str] | str | Path | None
"""Texts by id; or a file of label, name and description; or None for the labels themselves."""


def sentences(names: Sequence[str], descriptions: Sequence[str]) -> list[str]:
    """``name is description`` for each pair, or the one of both that is there.

    Example:
        >>> sentences(["cat", "dog"], ["a feline", ""])
        ['cat is a feline', 'dog']
    """
    pairs = zip(names, descriptions, strict=True)
    return [" is ".join(part for part in pair if part) for pair in pairs]


def with_inverses(relations: Sequence[str]) -> list[str]:
    """Texts of relations and of their inverses, in the order of PyKEEN's ids: by turns.

    Example:
        >>> with_inverses(["part of"])
        ['part of', 'reverse of part of']
    """
    return [text for relation in relations for text in (relation, f"reverse of {relation}")]


def graph_sentences(factory: Any, entities: Texts, relations: Texts) -> tuple[list[str], list[str]]:
    """Texts of all entities, and of all relations with their inverses, by PyKEEN's ids.

    Args:
        factory: the training triples, with inverse relations.
        entities: see :data:`Texts`.
        relations: see :data:`Texts`; without inverses.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no texts and no labels, or not one text for each id.
    """
    count = factory.num_entities, factory.num_relations // 2
    ours = _by_id("entity", entities, getattr(factory, "entity_to_id", None), count[0])
    theirs = _by_id("relation", relations, getattr(factory, "relation_to_id", None), count[1])
    return ours, with_inverses(theirs)


def _by_id(kind: str, texts: Texts, ids: Mapping[str, int] | None, count: int) -> list[str]:
    if texts is None or isinstance(texts, str | Path):
        if ids is None:
            raise ValueError(
                f"the triples have no {kind} labels to take for texts: give {kind}_texts, one "
                f"string for each of {count} ids"
            )
        labels = sorted(ids, key=ids.__getitem__)
        if texts is None:
            return check_texts([label.replace("_", " ") for label in labels])
        path = Path(texts).expanduser()
        found = read_texts(path, kind)
        missing = [label for label in labels if label not in found]
        if missing:
            raise ValueError(
                f"{path} lacks {len(missing)} of {count} labels, the first is {missing[0]!r}"
            )
        pairs = [found[label] for label in labels]
        return check_texts(sentences(*([pair[i] for pair in pairs] for i in (0, 1))))
    listed = check_texts(texts)
    if len(listed) != count:
        raise ValueError(f"{kind}_texts has {len(listed)} texts, but there are {count} ids")
    return listed
