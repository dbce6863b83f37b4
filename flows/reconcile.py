"""Settle what a crashed run left behind."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.ab_test import settle_tests
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.promotion import reconcile_task
from evergreen.tasks.runtime.parameters import ModelName
from evergreen.tasks.runtime.result import concluded


@flow(name="reconcile", flow_run_name="reconcile-{model}")
@concluded("reconcile")
def reconcile(model: ModelName) -> StageResult:
    """Settle what a crash left, record aliases moved outside, smoke-test an untested champion, end left-over arms."""
    setup = open_setup(model)
    return settle_tests(setup, reconcile_task(setup))
