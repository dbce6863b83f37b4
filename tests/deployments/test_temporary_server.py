"""Commands without a server share a temporary one: it is started once, and ended with the last of them."""

import os
import subprocess
import sys

import pytest

from evergreen.deployments.servers import read_servers
from tests.support.commands import write_model
from tests.support.servers import QUIET

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TOGETHER = 20


def environment(home):
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EVERGREEN_", "MLFLOW_", "PREFECT_"))
    }
    return {**own, **QUIET, "EVERGREEN_HOME": str(home), "OMP_NUM_THREADS": "1"}


def test_twenty_commands_started_together_all_run_on_one_server_that_ends_with_them(
    tmp_path, mlflow_template
):
    home, path = tmp_path / "home", write_model(tmp_path, "together")
    home.mkdir()
    (home / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    command = [sys.executable, "-m", "evergreen", "reconcile", str(path), "--json"]
    started = [
        subprocess.Popen(
            command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(TOGETHER)
    ]
    ended = [process.communicate(timeout=800) for process in started]
    assert [] == [err[-2000:] for _, err in ended if "database is locked" in err or "Traceback" in err]
    assert [0] * TOGETHER == [process.returncode for process in started], ended
    assert TOGETHER == sum("'evergreen up' makes commands faster" in err for _, err in ended)
    assert {} == read_servers(home / "prefect" / "temporary")
    assert [] == [
        one
        for one in (home / "prefect" / "temporary").iterdir()
        if one.name not in ("server.log", "users", ".lock")
    ]
