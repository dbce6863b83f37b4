"""Processes of one home folder share the copies: no fetch fails another's, and nobody removes what another uses."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io import serving_cache
from evergreen.tasks.io.mlflow_store.models import build_model
from evergreen.tasks.io.serving_cache import ServingCache
from tests.support.serving import model_of

SIDES = 4

CUT_OFF = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.serving_cache import ServingCache

def wait(self, uri, place):
    print("downloading", flush=True)
    sys.stdin.read()

info = VersionInfo(model="tested", version=3, run_id=None, source="s", created_at=datetime.now(UTC))
ServingCache._download = wait
ServingCache(SimpleNamespace(
    model="tested",
    settings=SimpleNamespace(home=Path(sys.argv[1])),
    stores=SimpleNamespace(registry=SimpleNamespace(version=lambda *_: info)),
)).load(3)
"""


@pytest.fixture
def model(monitored):
    return model_of(monitored)


def unfinished(cache):
    return [path.name for path in cache.folder.glob(".fetch-*")]


@pytest.mark.parametrize("rounds", [12, pytest.param(200, marks=pytest.mark.proof)])
def test_services_that_fetch_a_version_at_the_same_moment_all_get_it(rounds, model, monkeypatch):
    """In each round all of them have downloaded it before the first puts it in its place."""
    caches = [ServingCache(model) for _ in range(SIDES)]
    caches[0].load(1)
    kept = shutil.copytree(caches[0].files(1), caches[0].folder.parent / "kept")
    documents = caches[0]._documents(1)["documents"]
    together = threading.Barrier(SIDES)

    def download(self, uri, place):
        shutil.copytree(kept, place / "model")
        together.wait()

    monkeypatch.setattr(ServingCache, "_download", download)
    monkeypatch.setattr(serving_cache, "read_documents", lambda *_: documents)
    info = model.stores.registry.version("tested", 1)
    with ThreadPoolExecutor(SIDES) as pool:
        for _ in range(rounds):
            shutil.rmtree(caches[0].files(1).parent)
            digests = {facts["digest"] for facts in pool.map(lambda cache: cache._fetch(info), caches)}
            assert (1, True) == (len(digests), caches[0].has(1))
    assert [] == unfinished(caches[0])


def test_a_version_that_another_service_uses_is_not_removed_and_the_last_one_to_use_it_does(model):
    behind, ahead = ServingCache(model), ServingCache(model)
    behind.load(1)
    ahead.load(1)
    ahead.load(2)
    behind.prune({1})
    assert ahead.has(2)
    ahead.prune({2})
    assert ahead.has(1)
    behind.prune({2})
    assert not ahead.has(1)
    assert ahead.has(2)


def test_a_service_that_ended_holds_no_version(model):
    ServingCache(model).load(1)
    other = ServingCache(model)
    other.load(2)
    other.prune({2})
    assert (False, True) == (other.has(1), other.has(2))


def test_a_copy_that_changed_while_it_was_loaded_is_not_served(model):

    def build_slowly(*given, **options):
        built = build_model(*given, **options)
        facts = cache.files(1).parent / "version.json"
        other = facts.with_name("other.json")
        shutil.copy(facts, other)
        other.replace(facts)
        return built

    cache = ServingCache(model, build=build_slowly)
    with pytest.raises(InputError, match="was replaced on disk while it was loaded"):
        cache.load(1)


def test_what_a_killed_download_left_is_removed_and_one_that_is_under_way_is_not(model):
    cache = ServingCache(model)
    cache.prune(())
    command = [sys.executable, "-c", CUT_OFF, str(model.settings.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert "downloading" == other.stdout.readline().strip()
            cache.prune(())
            under_way = unfinished(cache)
        finally:
            other.kill()
    assert 1 == len(under_way)
    cache.prune(())
    assert [] == unfinished(cache)
