"""Benchmark graphs by name, read from local files, checked against their published counts."""

from typing import TYPE_CHECKING, Any

from graphcl.data.registry import DatasetInfo, dataset_info, dataset_names

if TYPE_CHECKING:
    from graphcl.data.loading import load_dataset

__all__ = ["DatasetInfo", "dataset_info", "dataset_names", "load_dataset"]


def __getattr__(name: str) -> Any:
    if name == "load_dataset":
        from graphcl.data.loading import load_dataset

        return load_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
