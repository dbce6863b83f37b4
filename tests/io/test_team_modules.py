"""Modules of a team are found beside its configuration, in whatever process a stage runs."""

import sys

import pytest

from evergreen.tasks.core.registry import import_path
from evergreen.tasks.io.setup import open_setup
from tests.support.training_data import write_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A team's folder with a module and ``config/tested.yaml``."""
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "config").mkdir()
    (tmp_path / "team" / "gates_of_a_team.py").write_text("def strict(context):\n    return context\n")
    write_model(tmp_path / "team" / "config")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "gates_of_a_team", raising=False)
    return tmp_path / "team"


def found(monkeypatch, *, cwd, config):
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("EVERGREEN_CONFIG", str(config))
    open_setup("tested")
    return import_path("gates_of_a_team:strict", key="validation.gates")(7)


def test_a_module_of_the_working_folder_is_found(folder, monkeypatch):
    assert 7 == found(monkeypatch, cwd=folder, config="config")


def test_a_worker_of_another_folder_finds_it_beside_the_configurations(folder, tmp_path, monkeypatch):
    assert 7 == found(monkeypatch, cwd=tmp_path, config=folder / "config")


def test_a_team_stands_behind_the_libraries(folder, monkeypatch):
    found(monkeypatch, cwd=folder, config="config")
    found(monkeypatch, cwd=folder, config="config")
    assert [str(folder)] == [path for path in sys.path if path == str(folder)] == sys.path[-1:]
