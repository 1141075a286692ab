"""Training: recipes, one run of one method with checkpoints, and experiments over seeds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphcl.train.evaluation import evaluate_run
    from graphcl.train.experiment import run_experiment
    from graphcl.train.fitting import FitResult, fit
    from graphcl.train.recipes import Settings, TrainingOptions, method_names, settings_for

__all__ = [
    "FitResult",
    "Settings",
    "TrainingOptions",
    "evaluate_run",
    "fit",
    "method_names",
    "run_experiment",
    "settings_for",
]

_HOMES = {
    "FitResult": "graphcl.train.fitting",
    "Settings": "graphcl.train.recipes",
    "TrainingOptions": "graphcl.train.recipes",
    "evaluate_run": "graphcl.train.evaluation",
    "fit": "graphcl.train.fitting",
    "method_names": "graphcl.train.recipes",
    "run_experiment": "graphcl.train.experiment",
    "settings_for": "graphcl.train.recipes",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: training needs lightning.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
