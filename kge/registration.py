"""Making the components of this package known to PyKEEN by name.

PyKEEN reads one entry point group while it is being imported, ``pykeen.datasets``. The data set
that this package offers there is looked up in this module, and looking it up registers all the
rest. At that moment PyKEEN is half loaded, and how far it has come depends on which of its modules
was asked for first. So a component is registered when its resolver exists: at once, or when the
module that holds the resolver has been executed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)


class _Component(NamedTuple):
    """A class of ours, and the resolver that shall know it under ``name``."""

    resolver_module: str
    resolver: str
    module: str
    cls: str
    name: str


_COMPONENTS = (
    _Component(
        "pykeen.sampling",
        "negative_sampler_resolver",
        "kge.sampling.hasa",
        "HaSaNegativeSampler",
        "hasa",
    ),
    _Component(
        "pykeen.sampling",
        "negative_sampler_resolver",
        "kge.sampling.lemon",
        "LEMONNegativeSampler",
        "lemon",
    ),
    _Component("pykeen.losses", "loss_resolver", "kge.losses.hasa", "HaSaLoss", "hasa"),
    _Component(
        "pykeen.evaluation",
        "evaluator_resolver",
        "kge.evaluation.fused_rank_based",
        "FusedRankBasedEvaluator",
        "fusedrankbased",
    ),
    _Component(
        "pykeen.training",
        "callback_resolver",
        "kge.training.binding",
        "BindModelCallback",
        "bindmodel",
    ),
    _Component(
        "pykeen.training",
        "training_loop_resolver",
        "kge.training.in_batch",
        "InBatchTrainingLoop",
        "inbatch",
    ),
    _Component(
        "class_resolver.contrib.torch",  # whose resolver PyKEEN uses
        "optimizer_resolver",
        "kge.training.lazy_adam",
        "LazyAdam",
        "lazyadam",
    ),
    _Component("pykeen.models", "model_resolver", "kge.models.hasa_text", "HaSaText", "hasatext"),
    _Component("pykeen.models", "model_resolver", "kge.models.simkgc", "SimKGC", "simkgc"),
    _Component("pykeen.datasets", "dataset_resolver", "kge.union_dataset", "UnionDataset", "union"),
)


def register() -> None:
    """Make all components of this package known to PyKEEN by name.

    Afterwards ``negative_sampler="hasa"`` or ``"lemon"``, ``loss="hasa"``,
    ``model="hasatext"`` or ``"simkgc"``, ``training_loop="inbatch"``, ``optimizer="lazyadam"``,
    ``evaluator="fusedrankbased"``, ``dataset="union"`` and
    ``training_kwargs=dict(callbacks="bindmodel")`` work in ``pipeline`` and ``hpo_pipeline``. Where
    this package was installed (and not only put on the path), they do so without this call.
    Calling it again changes nothing.

    Raises:
        class_resolver.base.RegistrationError: one of the names belongs to another class.

    Example:
        >>> import kge
        >>> kge.register()
        >>> from pykeen.evaluation import evaluator_resolver
        >>> evaluator_resolver.lookup("fusedrankbased").__name__
        'FusedRankBasedEvaluator'
    """
    for component in _COMPONENTS:
        import_module(component.resolver_module)
        _register(component)


def _register(component: _Component) -> None:
    resolver = getattr(sys.modules[component.resolver_module], component.resolver)
    module = import_module(component.module)
    if not hasattr(module, component.cls):
        raise ImportError(f"{component.module} is being loaded and has no {component.cls} yet")
    cls = getattr(module, component.cls)
    known = {**resolver.synonyms, **resolver.lookup_dict}
    if known.get(component.name) is not cls:
        resolver.register(cls, synonyms={component.name})
    if component.resolver == "optimizer_resolver":  # what of it a search varies is in a table
        ranges = import_module("pykeen.optimizers").optimizers_hpo_defaults
        ranges.setdefault(cls, ranges[resolver.lookup("adam")])


def _half_loaded(prefixes: Sequence[str] = ("pykeen", "kge")) -> bool:
    """Whether modules of these packages are being executed right now."""
    return any(
        name.split(".")[0] in prefixes
        and getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
    )


class _Registrar(MetaPathFinder):
    """Registers each component as soon as its resolver exists; finds no modules by itself."""

    def __init__(self) -> None:
        self.pending = list(_COMPONENTS)
        self.busy = False

    def register_ready(self) -> None:
        """Register what can be, and leave the import system alone once nothing is pending."""
        if self.busy:
            return
        self.busy = True
        try:
            before = None
            while len(self.pending) != before:  # what is imported for one may make another ready
                before = len(self.pending)
                self.pending = [one for one in self.pending if not self._done(one)]
        finally:
            self.busy = False
        if not self.pending and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _done(self, component: _Component) -> bool:
        if not hasattr(sys.modules.get(component.resolver_module), component.resolver):
            return False
        try:
            _register(component)
        except ImportError as error:
            # Something that the component builds on may be half loaded still.
            if _half_loaded():
                return False
            logger.warning("PyKEEN will not know %s: %s", component.cls, error)
        except Exception as error:  # PyKEEN must be importable nevertheless
            logger.warning("PyKEEN will not know %s: %s", component.cls, error)
        return True

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Watch the import of modules that hold a resolver which is still missing."""
        self.register_ready()
        if fullname not in {component.resolver_module for component in self.pending}:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                self.register_ready()

            # The loader belongs to this one module.
            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def __getattr__(name: str) -> Any:
    # The entry point's lookup: it happens at the end of PyKEEN's data set module.
    if name == "UnionDataset":
        if not any(isinstance(finder, _Registrar) for finder in sys.meta_path):
            registrar = _Registrar()
            sys.meta_path.insert(0, registrar)
            registrar.register_ready()
        return import_module("kge.union_dataset").UnionDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
