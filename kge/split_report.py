"""What was found amiss in the splits of a knowledge graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from kge.dataset_folders import SPLITS


@dataclass(frozen=True)
class SplitReport:
    """What was found while reading a graph; counts of triples by split.

    Attributes:
        unseen: triples of an entity or relation that training does not contain.
        dropped: those of them that were left out.
        duplicates: repetitions within a split, left out.
        leaks: triples that an earlier split contains as well, kept; by pair of splits.
        without_facts: labels of ``entities.tsv`` and ``relations.tsv`` in no triple, left out.
        without_text: entities and relations without a name of their own; their label stands in.
    """

    unseen: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    leaks: dict[tuple[str, str], int] = field(default_factory=dict)
    without_facts: dict[str, int] = field(default_factory=dict)
    without_text: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What deserves mention, in words."""
        found = []
        for split in SPLITS:
            if self.unseen.get(split):
                fate = "dropped" if self.dropped.get(split) else "kept"
                found.append(f"{self.unseen[split]} {split} triples unseen in train: {fate}")
            if self.duplicates.get(split):
                found.append(f"{self.duplicates[split]} repeated {split} triples: left out")
        for (early, late), count in self.leaks.items():
            if count:
                found.append(f"{count} {late} triples are in {early} as well: kept")
        for kind in ("entities", "relations"):
            if self.without_facts.get(kind):
                found.append(f"{self.without_facts[kind]} listed {kind} without facts: left out")
            if self.without_text.get(kind):
                found.append(f"{self.without_text[kind]} {kind} without a name: label used")
        return found
