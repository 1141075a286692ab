"""Knowledge-graph embedding by contrast, inside PyKEEN: hard but true negatives, quick ranking.

Names are loaded on first use: ``import kge`` itself loads neither torch nor PyKEEN.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kge.datasets import load_dataset
    from kge.evaluation.fused_rank_based import FusedRankBasedEvaluator
    from kge.losses.hasa import HaSaLoss
    from kge.models.hasa_text import HaSaText
    from kge.models.simkgc import SimKGC
    from kge.registration import register
    from kge.sampling.hasa import HaSaNegativeSampler
    from kge.sampling.lemon import LEMONNegativeSampler
    from kge.sampling.offers import describe_negatives
    from kge.sampling.report import sampler_report
    from kge.structure import StructureIndex
    from kge.text.encoder import TextEncoder
    from kge.training.binding import BindModelCallback, BoundSLCWATrainingLoop
    from kge.training.in_batch import InBatchTrainingLoop
    from kge.training.lazy_adam import LazyAdam
    from kge.union_dataset import UnionDataset

__all__ = [
    "BindModelCallback",
    "BoundSLCWATrainingLoop",
    "FusedRankBasedEvaluator",
    "HaSaLoss",
    "HaSaNegativeSampler",
    "HaSaText",
    "InBatchTrainingLoop",
    "LEMONNegativeSampler",
    "LazyAdam",
    "SimKGC",
    "StructureIndex",
    "TextEncoder",
    "UnionDataset",
    "describe_negatives",
    "load_dataset",
    "register",
    "sampler_report",
]

_HOMES = {
    "BindModelCallback": "training.binding",
    "BoundSLCWATrainingLoop": "training.binding",
    "UnionDataset": "union_dataset",
    "load_dataset": "datasets",
    "FusedRankBasedEvaluator": "evaluation.fused_rank_based",
    "HaSaLoss": "losses.hasa",
    "HaSaNegativeSampler": "sampling.hasa",
    "HaSaText": "models.hasa_text",
    "InBatchTrainingLoop": "training.in_batch",
    "LEMONNegativeSampler": "sampling.lemon",
    "LazyAdam": "training.lazy_adam",
    "SimKGC": "models.simkgc",
    "StructureIndex": "structure",
    "TextEncoder": "text.encoder",
    "describe_negatives": "sampling.offers",
    "register": "registration",
    "sampler_report": "sampling.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"kge.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
