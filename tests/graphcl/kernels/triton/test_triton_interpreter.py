"""The kernels in Triton's interpreter, in a process of their own: no other test sees them so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphcl.kernels.triton_support import interpreting

pytest.importorskip("triton")

HERE = Path(__file__).parent


@pytest.mark.skipif(interpreting(), reason="the tests in device/ run in this process")
def test_kernels_agree_with_the_reference_in_the_interpreter() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        str(HERE / "device"),
    ]
    done = subprocess.run(
        command,
        cwd=HERE.parents[3],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed[0]) >= 250, done.stdout[-500:]
