"""How `pytest` runs side by side: a file's tests share a worker, and so do all that ask for the Prefect server."""

import functools
import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[2]
HEAVIEST_FIRST = ("tests/tasks/", "tests/deployments/", "tests/io/", "tests/core/")
"""Folders whose files take longest: begun early, none of them is what everybody waits for at the end."""


def pytest_xdist_auto_num_workers(config):
    """Return a worker more than there are cores, for some wait for servers; none where single files are named."""
    if any(".py" in argument for argument in config.args):
        return 0
    return len(os.sched_getaffinity(0)) + 1


@functools.cache
def asks_server(file):
    return "prefect_server" in (ROOT / file).read_text(encoding="utf-8")


def file_of(nodeid):
    return nodeid.partition("::")[0]


def rank(item):
    if asks_server(file_of(item.nodeid)):
        return -1
    folders = (place for place, folder in enumerate(HEAVIEST_FIRST) if item.nodeid.startswith(folder))
    return next(folders, len(HEAVIEST_FIRST))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    yield
    items.sort(key=rank)  # after the order was made random; stable, so within a rank it stays random


class ByFile(LoadScopeScheduling):
    """Files in the order of their collection; those that ask for the server are one."""

    def _split_scope(self, nodeid):
        file = file_of(nodeid)
        return "server" if asks_server(file) else file


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)
