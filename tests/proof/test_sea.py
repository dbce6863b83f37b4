"""SEA: abrupt changes of concept are found soon, and little else is called one."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.monitoring.monitor import check_window
from evergreen.tasks.core.monitoring.reference_series import FrozenReference, ReferenceSeries
from evergreen.tasks.core.monitoring.setup import prepare_monitor
from evergreen.tasks.core.monitoring.windows import DueWindow
from evergreen.tasks.core.records.reference import freeze_reference, frozen_items
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.training.scoring import frame_scores, score_rows
from tests.support.skips import real_file

FEATURES = ("f1", "f2", "f3")
CHANGES = (12_500, 25_000, 37_500)
THRESHOLDS = (8.0, 9.0, 7.0, 9.5)
NOISE = 0.1
REFERENCE_ROWS = 2_000
WINDOW_ROWS = 500
SCHEMA = Schema(target="target", time="t", numeric=FEATURES, categorical=())


def sea_rows(rng, *, n=50_000):
    """Return a draw of the generator, shape (n, 5)."""
    x = rng.uniform(0.0, 10.0, size=(n, 3))
    threshold = np.repeat(THRESHOLDS, n // len(THRESHOLDS))
    y = (x[:, 0] + x[:, 1] <= threshold) ^ (rng.random(n) < NOISE)
    frame = pd.DataFrame(dict(zip(FEATURES, x.T, strict=True)))
    return frame.assign(t=np.arange(n), target=y.astype(int))[["t", *FEATURES, "target"]]


def sea_config(**drift):
    return parse_model(
        {
            "model": "sea",
            "problem": "binary",
            "data": {"source": "sea.csv", "target": "target", "time": "t", "clock": "rows"},
            "training": {
                "candidates": [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression"}]
            },
            "evaluation": {"metric": "accuracy"},
            "monitoring": {"window": f"{WINDOW_ROWS} rows"},
            "drift": {"false_alarms": "0.1 per 50000 rows", **drift},
        },
        origin="test",
    )


def reference_and_model(rows, config):
    """Fit a logistic model on some rows, and return its watch: the reference is these rows, answered out of fold."""
    model = LogisticRegression()
    features, y = rows.frame[list(FEATURES)], rows.frame["target"]
    folds = KFold(5, shuffle=True, random_state=0)
    score = cross_val_predict(model, features, y, cv=folds, method="predict_proba")[:, 1]
    scored = frame_scores(rows, score, ModelSpec(SCHEMA, config, (0, 1)))
    metric = deciding_metric(config)
    frozen = freeze_reference(
        rows, scored, schema=SCHEMA, config=config, metrics=[metric], score_source="out_of_fold"
    )
    items = {item.path: item.content for item in frozen_items(frozen)}
    past = ReferenceSeries.from_dict(json.loads(items["evergreen/past.json"]))
    watch = prepare_monitor(
        SimpleNamespace(schema=SCHEMA),
        FrozenReference(profile=items["evergreen/profile.json"], past=past),
        config=config,
        metric=metric,
        version=1,
        trained_to=float(rows.positions[-1]) + 1.0,
    )
    return watch, model.fit(features, y)


def replay(frame, config):
    """Watch a stream; every alarm is answered by a fresh reference and model from the 2,000 rows after it.

    Returns
    -------
    list of (int, str)
        Rows seen when each alarm opened, and what opened.
    """
    alarms, start = [], 0
    while start + REFERENCE_ROWS + WINDOW_ROWS <= len(frame):
        watch, model = reference_and_model(_slice(frame, start, start + REFERENCE_ROWS), config)
        memories = {phase: DetectorState.empty() for phase in Phase}
        found = None
        for begin in range(start + REFERENCE_ROWS, len(frame) - WINDOW_ROWS + 1, WINDOW_ROWS):
            found = _look(watch, model, frame, begin, memories, config)
            if found:
                alarms.append((begin + WINDOW_ROWS, found))
                start = begin + WINDOW_ROWS
                break
        if not found:
            return alarms
    return alarms


def _look(watch, model, frame, begin, memories, config):
    rows = _slice(frame, begin, begin + WINDOW_ROWS)
    scored = score_rows(model, rows, ModelSpec(SCHEMA, config, (0, 1)))
    opened = []
    for phase in Phase:
        window = Window(float(begin), float(begin + WINDOW_ROWS))
        due = DueWindow(window=window, phase=phase, known_by=window.end)
        seen = check_window(watch, due, rows, scored, state=memories[phase], rng=np.random.default_rng(0))
        memories[phase] = seen.state
        opened += [
            f"{one['kind']}:{one['column']}" for one in seen.result.changes if one["change"] == "opened"
        ]
    return ", ".join(opened)


def _slice(frame, start, end):
    part = frame.iloc[start:end].reset_index(drop=True)
    return Rows(part, part["t"].to_numpy(dtype=np.float64))


def score_alarms(alarms, *, within=2_000):
    """Return which of the three changes were alarmed in time, and how many alarms were not that."""
    found = [any(change < row <= change + within for row, _ in alarms) for change in CHANGES]
    hits = sum(any(change < row <= change + within for change in CHANGES) for row, _ in alarms)
    return found, len(alarms) - min(hits, sum(found))


pytestmark = pytest.mark.proof
DRAWS = 40


@pytest.mark.realdata
def test_on_the_public_file_all_three_changes_are_alarmed_and_nothing_else():
    alarms = replay(pd.read_csv(real_file("sea_concepts_synthetic.csv")), sea_config())
    assert ([True, True, True], 0) == score_alarms(alarms), alarms


def test_on_fresh_draws_the_changes_are_alarmed_and_little_else(capsys):
    results = [
        score_alarms(replay(sea_rows(np.random.default_rng(seed)), sea_config())) for seed in range(DRAWS)
    ]
    found = np.array([each for each, _ in results])
    others = np.mean([other for _, other in results])
    with capsys.disabled():
        print(
            f"\nSEA, {DRAWS} draws: all {found.all(axis=1).mean():.1%}, each {found.mean(axis=0)}, others {others:.2f}"
        )
    assert 0.70 <= found.all(axis=1).mean()
    assert 0.3 >= others
