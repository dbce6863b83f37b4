"""Check the health of champion, servers and feed, and record each change of it in the ledger."""

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
from evergreen.tasks.core.health import checks
from evergreen.tasks.core.monitoring.reference_series import ReferenceSeries
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.core.training.features import answer, feature_frame
from evergreen.tasks.io.alerts import last_run, record_health
from evergreen.tasks.io.mlflow_store.models import LoadedModel, load_model
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task

PROBE_ROWS = 5
"""Rows that the champion is asked to score."""


def probe_champion(
    setup: Setup, *, loaded: LoadedModel | None, rows: pd.DataFrame | None
) -> tuple[int | None, LoadedModel | None, str | None]:
    """Return the champion's number, the loaded champion, and what went wrong with either (None: nothing).

    Parameters
    ----------
    loaded : LoadedModel or None
        The champion, where it is loaded already.
    rows : DataFrame or None
        Rows with the features; a few are scored. None: one row is made up.
    """
    version = None
    try:
        version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
        if version is not None:
            loaded = loaded or load_model(setup, version)
            _predict(setup, loaded, rows)
    except Exception as error:  # whatever the registry or the model raises is the result of the check
        return version, None if version is None else loaded, _first_line(error)
    return version, None if version is None else loaded, None


def _predict(setup: Setup, loaded: LoadedModel, rows: pd.DataFrame | None) -> None:
    """Score a few rows; raise when the scores are not finite numbers, one a row."""
    schema = loaded.schema
    made_up = {**dict.fromkeys(schema.numeric, 0.0), **dict.fromkeys(schema.categorical, "x")}
    frame = pd.DataFrame([made_up]) if rows is None else rows.head(PROBE_ROWS)
    features = feature_frame(frame, schema)
    if features.empty:
        return
    score = answer(loaded.estimator, features, problem=setup.config.problem.value, classes=loaded.classes)
    if not np.isfinite(score).all():
        raise EvergreenError(f"The answer to {len(frame)} rows is not finite.")


def probe_servers(setup: Setup, ask_prefect: Callable[[], None]) -> dict[str, str | None]:
    """Return the error of each store and server; None where it answered."""
    probes: dict[str, Callable[[], Any]] = {
        "ledger": lambda: setup.stores.ledger.last(setup.model, HEALTH),
        "mlflow": lambda: setup.stores.registry.aliases(setup.model),
        "prefect": ask_prefect,
    }
    errors: dict[str, str | None] = dict.fromkeys(probes)
    for name, probe in probes.items():
        try:
            probe()
        except Exception as error:  # each store raises errors of its own
            errors[name] = _first_line(error)
    return errors


def probe_prefect() -> None:
    """Raise where the Prefect server does not answer, or answers that it is not well."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise error


def _first_line(error: Exception) -> str:
    return " ".join(without_credentials(f"{type(error).__name__}: {error}").split())[:300].rstrip(".")


@dataclass(frozen=True, kw_only=True, eq=False)
class HealthFacts:
    """What a monitoring run knows of the feed and the champion when health is checked."""

    started: datetime
    """Aware: when this run began; earlier runs show when monitoring ran last."""
    newest: float | None = None
    """Position of the newest row that is new to the champion; None: there is none."""
    as_of: float | None = None
    """Moment on the model's clock that silence and age are judged against, in seconds; None where the run was given
    its end, or the clock is not of real time: then they do not apply."""
    champion: LoadedModel | None = None
    """Where it is loaded already; None: it is loaded here."""
    past: ReferenceSeries | None = None
    """The champion's reference, window by window, where it has one."""
    rows: pd.DataFrame | None = None
    """Rows with the features that the champion is to score; None: one row is made up."""


@stage_task(name="check_health", **SIDE_EFFECT)
def check_health(
    setup: Setup, facts: HealthFacts, *, ask_prefect: Callable[[], None] = probe_prefect
) -> checks.HealthReport:
    """Judge champion, servers, feed, labels, disk, model age and the last run; record a change in the ledger.

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
) -> tuple[int | None, checks.HealthReport]:
    """Return the champion's number and the checks that `check_health` records."""
    servers = checks.judge_servers(probe_servers(setup, ask_prefect))
    version, champion, trouble = probe_champion(setup, loaded=facts.champion, rows=facts.rows)
    count = PROBE_ROWS if facts.rows is not None else 1
    return version, checks.HealthReport(
        checks=(
            checks.judge_champion(version, rows=count, trouble=trouble),
            *servers,
            *_feed_checks(setup, facts, champion),
            *_machine_checks(setup, facts, champion),
        )
    )


def _feed_checks(setup: Setup, facts: HealthFacts, champion: LoadedModel | None) -> tuple[checks.Check, ...]:
    """Judge silence, rate and labels."""
    usual, age = _usual_feed(facts.past), setup.config.alerts.max_data_age
    counts, labels = _recent_windows(setup)
    return (
        checks.judge_silence(
            facts.newest,
            facts.as_of,
            usual=usual,
            limit=age.amount if age else None,
            trained_to=_made_of_rows_to(champion) if champion else None,
            training_lag=_lag_at_registration(champion) if champion else None,
        ),
        checks.judge_rate(counts, usual=usual),
        checks.judge_labels(labels, min_rows=setup.config.monitoring.min_rows),
    )


def _usual_feed(past: ReferenceSeries | None) -> checks.UsualFeed | None:
    series = past.series.get(DriftKind.DATA) if past else None
    if past is None or series is None:
        return None
    span = parse_span(past.window)
    return checks.usual_feed(
        series.starts, series.rows, length=span.amount if span.unit == "seconds" else None
    )


def _lag_at_registration(champion: LoadedModel) -> float | None:
    """Return how old the newest row, label delay aside, was when the champion was registered; None: not known."""
    plan, end = champion.plan, _made_of_rows_to(champion)
    if plan.label_time is not None or end is None:
        return None
    return champion.info.created_at.timestamp() - end - plan.label_delay.amount


def _made_of_rows_to(champion: LoadedModel) -> float | None:
    """Return the end of the rows the champion was trained, tuned or judged on, in seconds; None: not known."""
    plan = champion.plan
    ends = [part.end for part in (plan.training, plan.holdout, plan.evaluation) if part is not None]
    return max(filter(np.isfinite, ends), default=None) if plan.clock == "timestamp" else None


def _recent_windows(setup: Setup) -> tuple[list[int], list[tuple[int, int]]]:
    """Return rows of the newest windows, and (rows, labelled rows) of the newest whose labels were due."""
    read = setup.stores.ledger.read_tail
    inputs, outcomes = (
        [entry.payload for entry in read(setup.model, f"windows-{phase.value}", 120)] for phase in Phase
    )
    rows = {(one["start"], one["end"]): int(one["n"]) for one in inputs}
    due = [(rows.get((one["start"], one["end"])), int(one["n"])) for one in outcomes]
    return list(rows.values()), [(total, labelled) for total, labelled in due if total is not None]


def _machine_checks(
    setup: Setup, facts: HealthFacts, champion: LoadedModel | None
) -> tuple[checks.Check, ...]:
    """Judge disk, model age and the last run."""
    config, usage = setup.config, shutil.disk_usage(setup.settings.home)
    age, interval = config.alerts.max_model_age, config.monitoring.interval.amount
    limit, trained_to = age.amount if age else None, _trained_to(champion) if champion else None
    last = last_run(setup.stores.ledger, setup.model, before=facts.started)
    return (
        checks.judge_disk(usage.free / usage.total, limit=config.alerts.min_free_disk),
        checks.judge_age(trained_to, facts.as_of, limit=limit),
        checks.judge_last_run(last, utc_now(), interval=interval),
    )


def _trained_to(champion: LoadedModel) -> float | None:
    plan = champion.plan
    if plan.clock != "timestamp" or plan.training is None or not np.isfinite(plan.training.end):
        return None
    return plan.training.end
