"""What the end-to-end tests share: servers and a worker from `evergreen up`, and everything deployed."""

import pytest

from tests.support.commands import write_model
from tests.support.servers import brought_up


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    """Bring the servers and a worker up from a folder that holds nothing but two models' configurations."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "config").mkdir()
    write_model(folder / "config", "payments", promotion={"approval": "manual", "refit": False})
    write_model(folder / "config", "rides")
    with brought_up(folder) as made:
        yield made


@pytest.fixture(scope="session")
def deployed(machine):
    """Deploy as people do: by `evergreen deploy` and by `prefect deploy --all`."""
    machine.evergreen("deploy")
    machine.prefect("--no-prompt", "deploy", "--all")
    with machine.client() as client:
        return {(one.entrypoint, one.name): one for one in client.read_deployments()}
