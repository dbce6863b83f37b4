"""Importing a flow costs nothing but what every flow needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOWS = sorted(path.stem for path in (ROOT / "flows").glob("*.py") if path.stem != "__init__")
COSTLY = ("evidently", "great_expectations", "matplotlib.pyplot", "plotly", "lightgbm")


@pytest.mark.parametrize("flow", FLOWS)
def test_importing_a_flow_imports_no_costly_library(flow):
    program = f"import sys, flows.{flow}; print([name for name in {COSTLY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-500:]
