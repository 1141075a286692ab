"""Where the Triton kernels run: on a GPU, or on the CPU in Triton's interpreter."""

import importlib.util

import pytest
import torch

from graphcl.kernels.triton_support import interpreting

# Whether kernels are interpreted is settled when Triton is imported, so that it cannot change
# within a process: without a GPU, `test_triton_interpreter.py` runs these tests in one of its own.
RUNS = importlib.util.find_spec("triton") and (interpreting() or torch.cuda.is_available())
collect_ignore_glob = [] if RUNS else ["test_*.py"]


@pytest.fixture
def device() -> torch.device:
    return torch.device("cpu" if interpreting() else "cuda")
