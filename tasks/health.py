"""Measure whether the machinery is well, and keep each change of it in the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.alerts.alert import HEALTH
from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.drift.types import DriftKind, Phase
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.health.checks import (
    Check,
    HealthReport,
    UsualFeed,
    judge_age,
    judge_champion,
    judge_disk,
    judge_labels,
    judge_last_run,
    judge_rate,
    judge_servers,
    judge_silence,
    usual_feed,
)
from evergreen.tasks.core.monitoring.reference_series import ReferenceSeries
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.core.training.features import answer, feature_frame
from evergreen.tasks.io.alerts import last_run, record_health
from evergreen.tasks.io.mlflow_store.models import LoadedModel, load_model
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task

# Ask the champion and the servers for a sign of life.


PROBE_ROWS = 5
"""Rows the champion is asked for."""


def probe_champion(
    setup: Setup, *, loaded: LoadedModel | None, rows: pd.DataFrame | None
) -> tuple[int | None, LoadedModel | None, str | None]:
    """Return the champion's number, the loaded champion, and what went wrong with either (None: nothing).

    Parameters
    ----------
    loaded : LoadedModel or None
        The champion, where it is loaded already.
    rows : DataFrame or None
        Rows with the features; a few are asked for. None: one row is made up.
    """
    try:
        version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
        if version is None:
            return None, None, None
    except Exception as error:  # the check of the store itself says it too
        return None, None, _first_line(error)
    try:
        loaded = loaded or load_model(setup, version)
        _predict(setup, loaded, rows)
    except Exception as error:  # whatever a model does when it is loaded or asked is what must be told
        return version, loaded, _first_line(error)
    return version, loaded, None


def _predict(setup: Setup, loaded: LoadedModel, rows: pd.DataFrame | None) -> None:
    """Ask for a few answers; raise when they are no finite numbers, one a row."""
    frame = _synthetic_rows(loaded) if rows is None else rows.head(PROBE_ROWS)
    features = feature_frame(frame, loaded.schema)
    if features.empty:
        return
    score = answer(loaded.estimator, features, problem=setup.config.problem.value, classes=loaded.classes)
    if not np.isfinite(score).all():
        raise EvergreenError(f"The answer to {len(frame)} rows is not finite.")


def _synthetic_rows(loaded: LoadedModel) -> pd.DataFrame:
    schema = loaded.schema
    return pd.DataFrame([{**dict.fromkeys(schema.numeric, 0.0), **dict.fromkeys(schema.categorical, "x")}])


def probe_servers(setup: Setup, ask_prefect: Callable[[], None]) -> dict[str, str | None]:
    """Return what each store and server said instead of answering; None where it answered."""
    asks: dict[str, Callable[[], Any]] = {
        "ledger": lambda: setup.stores.ledger.last(setup.model, HEALTH),
        "mlflow": lambda: setup.stores.registry.aliases(setup.model),
        "prefect": ask_prefect,
    }
    return {name: _failure_message(ask) for name, ask in asks.items()}


def probe_prefect() -> None:
    """Ask the Prefect server how it is; what it says, or that it does not answer, is raised."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
    if trouble is not None:
        raise trouble


def _failure_message(ask: Callable[[], Any]) -> str | None:
    try:
        ask()
    except Exception as error:  # each store raises its own; what it says is what must be known
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return " ".join(without_credentials(f"{type(error).__name__}: {error}").split())[:300].rstrip(".")


_WINDOWS = 120


@dataclass(frozen=True, kw_only=True, eq=False)
class HealthFacts:
    """What a monitoring run knows of the feed and the champion when health is checked.

    Attributes
    ----------
    started : datetime
        Aware: when this run began; runs before it tell when monitoring ran last.
    newest : float | None
        Position of the newest row; None: there is none.
    as_of : float | None
        Moment on the model's clock that silence and age are judged against, in seconds; None where the run was
        given its end, or the clock does not tell the time: then they do not apply.
    champion : LoadedModel | None
        Where it is loaded already; None: it is loaded here.
    past : Past | None
        The champion's past, where it has one.
    rows : DataFrame | None
        Rows with the features to ask the champion with; None: one row is made up.
    """

    started: datetime
    newest: float | None = None
    as_of: float | None = None
    champion: LoadedModel | None = None
    past: ReferenceSeries | None = None
    rows: pd.DataFrame | None = None


@stage_task(name="check_health", **SIDE_EFFECT)
def check_health(
    setup: Setup, facts: HealthFacts, *, ask_prefect: Callable[[], None] = probe_prefect
) -> HealthReport:
    """Judge champion, servers, feed, labels, disk, model age and the last run; keep a change in the ledger.

    Parameters
    ----------
    setup : Setup
        The model.
    facts : HealthFacts
        What the run knows.
    ask_prefect : callable
        Raises where the Prefect server does not answer.
    """
    version, report = measure_health(setup, facts, ask_prefect=ask_prefect)
    record_health(setup, report, version=version)
    return report


def measure_health(
    setup: Setup, facts: HealthFacts, *, ask_prefect: Callable[[], None]
) -> tuple[int | None, HealthReport]:
    """Return the champion's number and the checks that `check_health` keeps."""
    servers = judge_servers(probe_servers(setup, ask_prefect))
    version, champion, trouble = probe_champion(setup, loaded=facts.champion, rows=facts.rows)
    asked = PROBE_ROWS if facts.rows is not None else 1
    return version, HealthReport(
        checks=(
            judge_champion(version, rows=asked, trouble=trouble),
            *servers,
            *_feed_checks(setup, facts, champion),
            *_machine_checks(setup, facts, champion),
        )
    )


def _feed_checks(setup: Setup, facts: HealthFacts, champion: LoadedModel | None) -> tuple[Check, ...]:
    """Judge silence, rate and labels."""
    config = setup.config
    usual = _usual_feed(facts.past)
    limit = config.alerts.max_data_age
    silence = judge_silence(
        facts.newest,
        facts.as_of,
        usual=usual,
        limit=limit.amount if limit else None,
        known_lag=_lag_at_registration(champion) if champion else None,
    )
    counts, labels = _recent_windows(setup)
    labelled = judge_labels(labels, min_rows=config.monitoring.min_rows)
    return silence, judge_rate(counts, usual=usual), labelled


def _usual_feed(past: ReferenceSeries | None) -> UsualFeed | None:
    series = past.series.get(DriftKind.DATA) if past else None
    if past is None or series is None:
        return None
    span = parse_span(past.window)
    return usual_feed(series.starts, series.rows, length=span.amount if span.unit == "seconds" else None)


def _lag_at_registration(champion: LoadedModel) -> float | None:
    """Return how old the newest row, label delay aside, was when the champion was registered; None: not known."""
    plan = champion.plan
    ends = [part.end for part in (plan.training, plan.holdout, plan.evaluation) if part is not None]
    known = [end for end in ends if np.isfinite(end)]
    if plan.clock != "timestamp" or plan.label_time is not None or not known:
        return None
    return champion.info.created_at.timestamp() - max(known) - plan.label_delay.amount


def _recent_windows(setup: Setup) -> tuple[list[int], list[tuple[int, int]]]:
    """Return rows of the newest windows, and (rows, labelled rows) of the newest whose labels were due."""
    read = setup.stores.ledger.read_tail
    inputs, outcomes = (
        [entry.payload for entry in read(setup.model, f"windows-{phase.value}", _WINDOWS)] for phase in Phase
    )
    rows = {(one["start"], one["end"]): int(one["n"]) for one in inputs}
    due = [(rows.get((one["start"], one["end"])), int(one["n"])) for one in outcomes]
    return list(rows.values()), [(total, known) for total, known in due if total is not None]


def _machine_checks(setup: Setup, facts: HealthFacts, champion: LoadedModel | None) -> tuple[Check, ...]:
    """Judge disk, model age and the last run."""
    config, usage = setup.config, shutil.disk_usage(setup.settings.home)
    age = config.alerts.max_model_age
    return (
        judge_disk(usage.free / usage.total, limit=config.alerts.min_free_disk),
        judge_age(
            _trained_to(champion) if champion else None, facts.as_of, limit=age.amount if age else None
        ),
        judge_last_run(
            last_run(setup.stores.ledger, setup.model, before=facts.started),
            utc_now(),
            interval=config.monitoring.interval.amount,
        ),
    )


def _trained_to(champion: LoadedModel) -> float | None:
    plan = champion.plan
    if plan.clock != "timestamp" or plan.training is None or not np.isfinite(plan.training.end):
        return None
    return plan.training.end
