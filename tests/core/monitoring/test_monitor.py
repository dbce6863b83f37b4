"""The check of one window: what a policy judges is what the window's report measured, once."""

import numpy as np
import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.types import DriftKind, Phase
from evergreen.tasks.core.monitoring.monitor import check_window
from evergreen.tasks.core.monitoring.reference_series import FrozenReference
from evergreen.tasks.core.monitoring.setup import prepare_monitor
from evergreen.tasks.core.monitoring.windows import DueWindow
from tests.support.monitoring import MINUTE, Trained


@pytest.fixture(scope="module")
def trained():
    return Trained(drift={"policy": "fixed_thresholds"})


def check_inputs(trained, **options):
    """Check the inputs of a window of 500 rows by fixed thresholds; return the verdicts by kind of drift."""
    monitor = prepare_monitor(
        trained,
        FrozenReference(profile=trained.reference_document(), past=trained.past()),
        config=trained.config,
        metric=trained.metric,
        version=1,
        trained_to=None,
    )
    start = 6000 * MINUTE
    rows, scored = trained.window(n=500, start=start, **options)
    window = Window(start, start + 500 * MINUTE)
    due = DueWindow(window=window, phase=Phase.INPUTS, known_by=window.end)
    check = check_window(
        monitor, due, rows, scored, state=DetectorState.empty(), rng=np.random.default_rng(0)
    )
    return {verdict.kind: verdict for verdict in check.result.kinds}


def test_fixed_thresholds_count_each_answer_once(trained):
    verdict = check_inputs(trained)[DriftKind.PREDICTION]
    assert ["0 of 2 columns passed a fixed level"] == [reason.message for reason in verdict.reasons]


def test_fixed_thresholds_list_an_answer_that_moved_once(trained):
    verdict = check_inputs(trained, shift=2.0)[DriftKind.PREDICTION]
    assert ["@decision", "@score"] == sorted(one.column for one in verdict.moved)
    assert 2 == verdict.reasons[0].observed
