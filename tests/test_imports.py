"""Imports go by the one name of a package, and cost nothing but what is needed: by flows, by each command."""

import http.server
import importlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.champions import FIRST, TRAINED, hour_text, make_rows

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
    exit_code, names = json.loads(printed("-c", HELP).splitlines()[-1])
    assert 0 == exit_code
    assert [] == sorted((NUMBERS | SERVERS | {"pydantic", "sqlalchemy", "rich", "yaml"}) & set(names))


IDLE = """
import contextlib, io, json, sys
from evergreen.deployments.cli.app import run
with contextlib.redirect_stdout(io.StringIO()) as out:
    run(["monitor", sys.argv[1], "--json"])
print(json.dumps([json.loads(out.getvalue()), list(sys.modules)]))
"""


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers as a Prefect server that is well."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_monitor_without_a_due_window_imports_no_server(monitored, monkeypatch):
    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        monkeypatch.setenv("EVERGREEN_NOW", hour_text(TRAINED))
        path = str(monitored.setup(make_rows(hours=FIRST)).path)
        answer, names = json.loads(printed("-c", IDLE, path).splitlines()[-1])
        server.shutdown()
    assert ("InsufficientData", []) == (answer["state"], answer["windows"])
    assert "no_window" in [reason["code"] for reason in answer["reasons"]]
    assert [] == sorted(SERVERS & set(names))


PROMOTING = """
import json, sys
import evergreen.flows.promote, evergreen.flows.rollback
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry
uri, model = sys.argv[1:]
registry = MlflowRegistry(uri)
registry.set_alias(model, "challenger", 1)
registry.set_tags(model, 1, {"evergreen.archived": "true"})
registry.delete_alias(model, "challenger")
print(json.dumps(list(sys.modules)))
"""


def test_what_a_promotion_does_to_the_registry_needs_no_client_of_mlflow_and_no_numbers(monitored):
    setup = monitored.setup(make_rows())
    names = json.loads(printed("-c", PROMOTING, setup.settings.tracking_uri, setup.model))
    assert [] == sorted({"mlflow", "pandas", "scipy.stats", "sklearn"} & set(names))
    assert "true" == setup.stores.registry.version(setup.model, 1).tags["evergreen.archived"]


READING = {
    # what each command, in this order in one process, may not have imported by its end
    ("status", "MODEL"): {"pandas", "scipy.stats", "sklearn"},
    ("alert", "MODEL"): {"pandas", "scipy.stats", "sklearn"},
    ("traffic", "show", "MODEL"): {"pandas", "scipy.stats", "sklearn"},
    ("pause", "MODEL", "--reason", "a fair"): {"pandas", "scipy.stats", "sklearn"},
    ("traffic", "stop", "MODEL", "--reason", "a fair"): {"pandas", "scipy.stats", "sklearn"},
    ("due", "MODEL"): {"scipy.stats", "sklearn"},
    ("retrain", "MODEL"): {"scipy.stats", "sklearn"},
    ("ab", "status", "MODEL"): {"scipy.stats", "sklearn"},
}
COMMANDS = """
import contextlib, io, json, sys
from evergreen.deployments.cli.app import run
found = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run([*arguments, "--json"])
    found.append([json.loads(out.getvalue())["state"], list(sys.modules)])
print(json.dumps(found))
"""


def test_commands_that_read_import_no_server_and_no_more_than_they_read_with(monitored, monkeypatch):
    monkeypatch.setenv("EVERGREEN_NOW", hour_text(TRAINED))
    path = str(monitored.setup(make_rows()).path)
    arguments = [[path if one == "MODEL" else one for one in command] for command in READING]
    found = dict(zip(READING, json.loads(printed("-c", COMMANDS, json.dumps(arguments))), strict=True))
    assert {command: [] for command in READING} == {
        command: sorted((forbidden | SERVERS) & set(found[command][1]))
        for command, forbidden in READING.items()
    }
    states = ["Inconsistent", "NoAlarm", "Plain", "Paused", "Unchanged", "Blocked", "Blocked", "InputError"]
    assert states == [state for state, _ in found.values()]
