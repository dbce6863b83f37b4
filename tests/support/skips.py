"""In CI a skipped test is a failure, apart from the real-data tests where the data are absent."""

import os

import pytest

from tests.support.realdata import REASON


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
