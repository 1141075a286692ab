"""Texts of entities, read from a table in the order of PyKEEN's entity ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kge.triple_files import read_texts


def read_entity_texts(path: str | Path, entity_ids: Sequence[str] | None = None) -> list[str]:
    """Texts from a file with lines ``id TAB name TAB description``, UTF-8, without a header.

    The text of an entity is ``name: description``, or the one of both that is there, or empty.

    Args:
        path: the file, for example ``entities.tsv``.
        entity_ids: the entities wanted, in the order of their numbers. By default all of the file,
            sorted as strings, which is how PyKEEN numbers the entities it finds in triples.

    Returns:
        Text of entity number i at place i.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a malformed line or a repeated id, named with file and line, or an entity that
            the file lacks.
    """
    path = Path(path).expanduser()
    texts = {
        entity: ": ".join(part for part in columns if part)
        for entity, columns in read_texts(path, "entity").items()
    }
    if entity_ids is None:
        return [texts[entity] for entity in sorted(texts)]
    missing = [entity for entity in entity_ids if entity not in texts]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(entity_ids)} entities, the first is "
            f"{missing[0]!r}; add a line with an empty name for an entity without text"
        )
    return [texts[entity] for entity in entity_ids]


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list of strings without outer white space.

    Raises:
        ValueError: not a sequence of strings, or none at all, or all of them empty.
    """
    if isinstance(texts, str):
        raise ValueError(f"texts must be a sequence of strings, got the single string {texts!r}")
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(f"text {wrong} must be a string, got {texts[wrong]!r}; use '' for none")
    stripped = [text.strip() for text in texts]
    if not any(stripped):
        raise ValueError(f"all of {len(stripped)} texts are empty: there is nothing to encode")
    return stripped
