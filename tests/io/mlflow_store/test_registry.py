"""One contract for every registry: in memory, and MLflow's own with its client and without."""

from datetime import UTC, datetime, timedelta

import pytest

from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry, Registry
from tests.support.memory_stores import MemoryRegistry


@pytest.fixture(params=["memory", "mlflow", "client"])
def registry(request):
    if request.param == "memory":
        return MemoryRegistry()
    kind = MlflowRegistry if request.param == "mlflow" else Registry
    return kind(request.getfixturevalue("mlflow_uri"))


def register(registry, *, name="fraud", source="file:models/one", tags=None):
    return registry.register(name, source=source, run_id=None, tags=tags or {}, description="a test")


def test_versions_are_numbered_from_one(registry):
    assert [register(registry).version, register(registry).version] == [1, 2]
    assert [info.version for info in registry.versions("fraud")] == [1, 2]


def test_a_version_is_read_back_as_it_was_registered(registry):
    made = register(registry, source="file:models/one", tags={"trained_to": "2026-01-01"})
    read = registry.version("fraud", made.version)
    assert (read.model, read.source, read.run_id) == ("fraud", "file:models/one", None)
    assert read.tags == {"trained_to": "2026-01-01"}
    assert abs(read.created_at - datetime.now(UTC)) < timedelta(hours=1)


def test_a_missing_model_has_no_aliases_and_no_versions(registry):
    assert registry.aliases("nobody") == {}
    assert registry.versions("nobody") == []


def test_a_missing_version_is_named_with_those_there_are(registry):
    register(registry)
    with pytest.raises(UnknownName, match=r"version 7 of model 'fraud'\. Registered: 1"):
        registry.version("fraud", 7)


def test_ensuring_a_model_twice_keeps_its_versions(registry):
    registry.ensure_model("fraud", description="card payments", tags={"team": "risk"})
    register(registry)
    registry.ensure_model("fraud")
    assert len(registry.versions("fraud")) == 1


def test_an_alias_moves_and_is_read_as_a_number(registry):
    register(registry), register(registry)
    registry.set_alias("fraud", "champion", 1)
    registry.set_alias("fraud", "champion", 2)
    registry.set_alias("fraud", "v1-0", 1)
    assert registry.aliases("fraud") == {"champion": 2, "v1-0": 1}


def test_an_alias_to_a_missing_version_is_refused_and_stays_where_it_was(registry):
    register(registry)
    registry.set_alias("fraud", "champion", 1)
    with pytest.raises(UnknownName, match="version 2"):
        registry.set_alias("fraud", "champion", 2)
    assert registry.aliases("fraud") == {"champion": 1}


@pytest.mark.parametrize("alias", ["latest", "v3", "v1.0", "a@b"])
def test_an_alias_that_mlflow_reserves_or_refuses_is_wrong_input(registry, alias):
    register(registry)
    with pytest.raises(InputError, match=f"Alias '{alias}'"):
        registry.set_alias("fraud", alias, 1)
    assert registry.aliases("fraud") == {}


def test_deleting_an_alias_removes_it_and_an_absent_one_is_fine(registry):
    register(registry)
    registry.set_alias("fraud", "challenger", 1)
    registry.delete_alias("fraud", "challenger")
    registry.delete_alias("fraud", "challenger")
    registry.delete_alias("nobody", "challenger")
    assert registry.aliases("fraud") == {}


def test_tags_are_added_and_replaced_one_by_one(registry):
    register(registry, tags={"validation_status": "pending", "team": "risk"})
    registry.set_tags("fraud", 1, {"validation_status": "approved", "evergreen.archived": "false"})
    assert registry.version("fraud", 1).tags == {
        "validation_status": "approved",
        "team": "risk",
        "evergreen.archived": "false",
    }


def test_tags_of_a_missing_version_are_refused(registry):
    register(registry)
    with pytest.raises(UnknownName, match="version 5"):
        registry.set_tags("fraud", 5, {"a": "b"})


def test_models_do_not_see_each_other_even_with_a_quote_in_the_name(registry):
    register(registry, name="o'hara")
    register(registry, name="fraud")
    registry.set_alias("o'hara", "champion", 1)
    assert [info.model for info in registry.versions("o'hara")] == ["o'hara"]
    assert registry.aliases("fraud") == {}
