"""PyKEEN knows our names, whatever was imported first, in fresh processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_LOOK_UP = """
import sys
from pykeen.pipeline.api import evaluator_resolver, loss_resolver, negative_sampler_resolver
from pykeen.training import callback_resolver
from pykeen.datasets import dataset_resolver
from pykeen.models import model_resolver
from class_resolver.contrib.torch import optimizer_resolver

found = [
    negative_sampler_resolver.lookup("hasa"),
    negative_sampler_resolver.lookup("lemon"),
    loss_resolver.lookup("hasa"),
    evaluator_resolver.lookup("fusedrankbased"),
    callback_resolver.lookup("bindmodel"),
    dataset_resolver.lookup("union"),
    model_resolver.lookup("hasatext"),
    model_resolver.lookup("simkgc"),
    optimizer_resolver.lookup("lazyadam"),
]
assert [one.__module__.split(".")[0] for one in found] == ["kge"] * 9, found
from pykeen.optimizers import optimizers_hpo_defaults

assert "lr" in optimizers_hpo_defaults[found[-1]]
watching = [one for one in sys.meta_path if type(one).__module__.startswith("kge")]
assert not watching, watching
print("all known")
"""

_FIRST = [
    "from pykeen.pipeline import pipeline",
    "from pykeen.hpo import hpo_pipeline",
    "import pykeen.sampling",
    "import pykeen.losses",
    "import pykeen.triples",
    "import pykeen.datasets",
    "import pykeen.training",
    "import pykeen.models",
    "import pykeen.evaluation",
    "import pykeen.nn",
    "import kge; kge.register()",
    "from kge.datasets import load_dataset",
    "from kge import FusedRankBasedEvaluator",
    "from kge.training.binding import BindModelCallback",
    "from kge.sampling.hasa import HaSaNegativeSampler",
]

# What neither PyKEEN nor we own is loaded once; each order then runs in a process of its own.
_FORK = """
import os, sys, traceback
import networkx, pandas, scipy.stats, sklearn.metrics, torch

assert not {{name for name in sys.modules if name.split(".")[0] in ("pykeen", "kge")}}
failed = []
for first in {first}:
    child = os.fork()
    if child == 0:
        try:
            exec(first + {look_up!r}, {{"__name__": "__main__"}})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(first)
assert not failed, failed
"""


def _run(code: str, home: Path) -> str:
    environment = {
        **os.environ,
        "PYSTOW_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=home,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "could not load" not in done.stderr
    assert "will not know" not in done.stderr
    return done.stdout


def _needs_entry_point() -> None:
    from importlib.metadata import entry_points

    if not any(one.value.startswith("kge.") for one in entry_points(group="pykeen.datasets")):
        pytest.skip(
            "entry points are not installed, or an old *.egg-info hides them: pip install ."
        )


def test_names_are_known_without_an_import(tmp_path: Path) -> None:
    _needs_entry_point()
    assert "all known" in _run(_FIRST[0] + _LOOK_UP, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_order_of_imports(tmp_path: Path) -> None:
    _needs_entry_point()
    _run(_FORK.format(first=_FIRST, look_up=_LOOK_UP), tmp_path)


def test_by_call(tmp_path: Path) -> None:
    assert "all known" in _run("import kge; kge.register(); kge.register()" + _LOOK_UP, tmp_path)


def test_import_is_light(tmp_path: Path) -> None:
    code = """
import sys
import kge
import kge.registration, kge.triple_files, kge.dataset_folders
heavy = {"torch", "numpy", "pykeen", "sklearn", "torch_geometric"} & set(sys.modules)
assert not heavy, heavy
assert set(kge.__all__) <= set(dir(kge))
print("light")
"""
    assert "light" in _run(code, tmp_path)


def test_all_public_names_exist() -> None:
    import kge

    for name in kge.__all__:
        assert getattr(kge, name).__name__ == name
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = kge.NoSuchName


def test_registering_twice_changes_nothing() -> None:
    from pykeen.sampling import negative_sampler_resolver

    import kge

    kge.register()
    before = dict(negative_sampler_resolver.lookup_dict)
    kge.register()
    assert negative_sampler_resolver.lookup_dict == before
    assert negative_sampler_resolver.lookup("hasa") is kge.HaSaNegativeSampler


def test_a_taken_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from class_resolver.base import RegistrationError
    from pykeen.evaluation import RankBasedEvaluator, evaluator_resolver

    import kge

    kge.register()
    monkeypatch.setitem(evaluator_resolver.lookup_dict, "fusedrankbased", RankBasedEvaluator)
    with pytest.raises(RegistrationError):
        kge.register()


def test_a_failing_component_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import kge.registration as registration

    registration.register()
    broken = registration._COMPONENTS[0]._replace(module="kge.no_such_module")
    registrar = registration._Registrar()
    registrar.pending = [broken, *registration._COMPONENTS[1:]]
    registrar.register_ready()
    assert not registrar.pending
    assert "kge.no_such_module" in caplog.text


def test_a_half_loaded_module_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    import kge.registration as registration

    registration.register()
    half = types.ModuleType("kge.half")
    half.__spec__ = types.SimpleNamespace(_initializing=True)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "kge.half", half)
    evaluator = registration._COMPONENTS[3]
    registrar = registration._Registrar()
    registrar.pending = [evaluator._replace(module="kge.half")]
    registrar.register_ready()
    assert len(registrar.pending) == 1
    half.FusedRankBasedEvaluator = __import__("kge").FusedRankBasedEvaluator  # type: ignore[attr-defined]
    registrar.register_ready()
    assert not registrar.pending
