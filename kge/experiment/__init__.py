"""Experiments in run directories: one model and one kind of negatives over several seeds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kge.experiment.running import evaluate_run, run_experiment
    from kge.experiment.settings import Settings, settings_for

__all__ = ["Settings", "evaluate_run", "run_experiment", "settings_for"]

_HOMES = {
    "Settings": "settings",
    "evaluate_run": "running",
    "run_experiment": "running",
    "settings_for": "settings",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: training needs PyKEEN.
    if name in _HOMES:
        return getattr(import_module(f"kge.experiment.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
