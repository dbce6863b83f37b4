"""Versions are kept whole or not at all, loaded with the checks of every load, and found again without a registry."""

import json
from datetime import UTC, datetime

import pytest

from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.io.serving_cache import ServingCache
from tests.support.serving import model_of, register_stranger

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def fail_on(monkeypatch, registry, *names):
    def away(*_):
        raise ConnectionError("away")

    for name in names:
        monkeypatch.setattr(registry, name, away)


def test_a_version_is_fetched_once_and_loaded_without_the_registry_afterwards(model, monkeypatch):
    cache = ServingCache(model)
    first = cache.load(1)
    fail_on(monkeypatch, model.stores.registry, "version", "aliases", "versions")
    again = ServingCache(model).load(1)
    assert first.info == again.info
    assert first.classes == again.classes == ("no", "yes")
    assert first.schema == again.schema


def test_a_version_that_is_not_here_needs_the_registry(model, monkeypatch):
    fail_on(monkeypatch, model.stores.registry, "version")
    with pytest.raises(ConnectionError):
        ServingCache(model).load(1)


@pytest.mark.parametrize("spoil", ["bytes", "name", "documents", "facts"])
def test_whatever_is_changed_in_a_copy_it_is_fetched_anew(model, monkeypatch, spoil):
    cache = ServingCache(model)
    cache.load(1)
    files, facts = cache.files(1), cache.files(1).parent / "version.json"
    if spoil == "bytes":
        (files / "model.skops").write_bytes((files / "model.skops").read_bytes()[:-1] + b"x")
    elif spoil == "name":
        (files / "MLmodel").rename(files / "MLmodel.old")
    elif spoil == "documents":
        plain = json.loads(facts.read_text())
        plain["documents"]["recipe"]["threshold"]["value"] = 0.0
        facts.write_text(json.dumps(plain))
    else:
        facts.unlink()
    assert not cache.has(1)
    assert 0.5 == cache.load(1).threshold
    assert cache.has(1)


def test_a_download_that_breaks_off_leaves_nothing(model, tmp_path):
    cache = ServingCache(model)
    with pytest.raises(InputError, match="was not registered by Evergreen"):
        cache.load(register_stranger(model, tmp_path))
    assert [".lock"] == [path.name for path in cache.folder.iterdir()]
    with pytest.raises(UnknownName):
        cache.load(99)


def test_what_was_served_last_is_known_and_the_rest_is_pruned(model):
    cache = ServingCache(model)
    assert cache.last_good() is None
    for version in (1, 2):
        cache.load(version)
    cache.remember({"champion": 2}, traffic={"salt": "s"}, at=NOW)
    cache.prune({2})
    expected = {"aliases": {"champion": 2}, "traffic": {"salt": "s"}, "at": NOW.isoformat()}
    assert (expected, False, True) == (cache.last_good(), cache.has(1), cache.has(2))


def test_a_note_that_cannot_be_read_is_none(model):
    cache = ServingCache(model)
    cache.remember({"champion": 1}, traffic={}, at=NOW)
    (cache.folder / "last-good.json").write_text("{")
    assert cache.last_good() is None
