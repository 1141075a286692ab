"""The package hands every public name on, and imports nothing heavy by itself."""

import subprocess
import sys

import pytest

import graphcl.probes


def test_every_public_name_resolves():
    for name in graphcl.probes.__all__:
        assert getattr(graphcl.probes, name) is not None
        assert name in dir(graphcl.probes)
    with pytest.raises(AttributeError, match="no attribute 'linear_prob'"):
        _ = graphcl.probes.linear_prob


def test_splits_need_no_scikit_learn():
    heavy = "{'sklearn', 'scipy', 'torch_geometric'}"
    code = f"import graphcl.probes, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "from graphcl.probes import make_split; import sys; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
