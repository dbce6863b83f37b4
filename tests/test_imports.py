"""Importing a flow costs nothing but what every flow needs; a command imports what it does, not what others do."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOWS = sorted(path.stem for path in (ROOT / "flows").glob("*.py") if path.stem != "__init__")
COSTLY = {"evidently", "great_expectations", "matplotlib.pyplot", "plotly", "lightgbm"}
PROGRAM = """
import importlib, json, sys
loaded = {}
for flow in sys.argv[1:]:
    importlib.import_module("evergreen.flows." + flow)
    loaded[flow] = list(sys.modules)
print(json.dumps(loaded))
"""


def test_importing_flows_imports_no_costly_library():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *FLOWS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-500:]
    loaded = json.loads(done.stdout)
    assert {flow: [] for flow in FLOWS} == {
        flow: sorted(COSTLY & set(names)) for flow, names in loaded.items()
    }


NUMBERS = {"numpy", "pandas", "scipy", "sklearn", "pyarrow"}
SERVERS = {"prefect", "mlflow"}
HELP = """
import json, sys
from evergreen.deployments.cli.app import run
exit_code = run(["--help"])
print(json.dumps([exit_code, list(sys.modules)]))
"""


def test_help_imports_only_what_prints_it():
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr[-500:]
    exit_code, names = json.loads(done.stdout.splitlines()[-1])
    assert 0 == exit_code
    assert [] == sorted((NUMBERS | SERVERS | {"pydantic", "sqlalchemy", "rich", "yaml"}) & set(names))
