"""Skipped tests fail in CI, apart from those of the public data sets where the whole folder is absent."""

import os
from pathlib import Path

import pytest


def forbid(report, *, environ=os.environ):
    """Turn a skip into a failure when CI=true, unless it is the one that a stranger's clone may have."""
    if environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if REASON not in reason:
        report.outcome, report.longrepr = "failed", f"skipped, which counts as a failure in CI: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return forbid((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return forbid((yield))


FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
REASON = "the public data sets are absent (folder ../shared/data beside the project)"


def real_file(name):
    """Return the path of a public data set; a folder that lacks one of its files is a failure, not a skip."""
    if not FOLDER.is_dir():
        pytest.skip(REASON)
    path = FOLDER / name
    assert path.is_file(), f"{FOLDER} is there but lacks {name}"
    return path
