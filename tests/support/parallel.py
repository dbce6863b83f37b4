"""How `pytest` runs side by side: a file's tests share a worker, and so do all tests that share the Prefect server."""

import os

import pytest

HEAVIEST_FIRST = ("tests/tasks/", "tests/deployments/", "tests/io/", "tests/core/")
"""Folders whose files take longest: begun early, none of them is what everybody waits for at the end."""


def pytest_xdist_auto_num_workers(config):
    """Return a worker more than there are cores, for some wait for servers; none where single files are named."""
    if any(".py" in argument for argument in config.args):
        return 0
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=rank)  # stable: within a rank the order stays random


def group_of(item):
    return "server" if item.get_closest_marker("server") else item.nodeid.partition("::")[0]


def rank(item):
    if item.get_closest_marker("server"):
        return -1
    folders = (place for place, folder in enumerate(HEAVIEST_FIRST) if item.nodeid.startswith(folder))
    return next(folders, len(HEAVIEST_FIRST))
