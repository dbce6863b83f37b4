"""Imports go by the one name of a package, and cost nothing but what is needed: by flows, by each command."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

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

EMPTY = """
import json, sys
before = set(sys.modules)
import evergreen
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def printed(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def test_importing_evergreen_imports_nothing_of_ours_and_no_library():
    loaded = json.loads(printed("-c", EMPTY))
    assert ["evergreen"] == [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names]


def test_flows_are_attributes_of_evergreen():
    flows = {
        "train",
        "validate",
        "register",
        "challenge",
        "promote",
        "monitor",
        "retrain",
        "replay",
        "ab_test",
    }
    evergreen = importlib.import_module("evergreen")
    assert flows < set(dir(evergreen))
    assert {name.replace("_", "-") for name in flows} == {getattr(evergreen, name).name for name in flows}
    with pytest.raises(AttributeError, match="no attribute 'trains'"):
        _ = evergreen.trains


@pytest.mark.parametrize("name", ["flows", "tasks", "deployments"])
def test_a_package_imported_by_the_name_of_its_folder_says_its_own(name):
    with pytest.raises(ImportError, match=f"write 'from evergreen.{name} import"):
        importlib.import_module(name)


def test_the_package_is_the_command():
    assert "evergreen" in printed("-m", "evergreen", "--help")


def test_importing_flows_imports_no_costly_library():
    loaded = json.loads(printed("-c", PROGRAM, *FLOWS))
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
