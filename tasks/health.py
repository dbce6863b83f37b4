"""Measure whether the machinery is well, and keep each change of it in the ledger."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from tasks.core.config.units import parse_span
from tasks.core.drift.words import DriftKind, Phase
from tasks.core.health.feed import UsualFeed, judge_rate, judge_silence, usual_feed
from tasks.core.health.labels import judge_labels
from tasks.core.health.machinery import (
    judge_age,
    judge_champion,
    judge_disk,
    judge_last_run,
    judge_servers,
)
from tasks.core.health.report import Check, HealthReport
from tasks.core.watching.past import Past
from tasks.health_record import record_health
from tasks.io.alert_entries import last_run
from tasks.io.clock import utc_now
from tasks.io.models import LoadedModel
from tasks.io.setup import Setup
from tasks.retries import SIDE_EFFECT
from tasks.signs_of_life import MOST_ROWS, ask_champion, ask_servers
from tasks.stage_task import stage_task

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
    past: Past | None = None
    rows: pd.DataFrame | None = None


@stage_task(name="check_health", **SIDE_EFFECT)
def check_health(setup: Setup, facts: HealthFacts) -> HealthReport:
    """Judge champion, servers, feed, labels, disk, model age and the last run; keep a change in the ledger."""
    servers = judge_servers(ask_servers(setup))
    version, champion, trouble = ask_champion(setup, loaded=facts.champion, rows=facts.rows)
    asked = MOST_ROWS if facts.rows is not None else 1
    report = HealthReport(
        checks=(
            judge_champion(version, rows=asked, trouble=trouble),
            *servers,
            *_feed_checks(setup, facts, champion),
            *_machine_checks(setup, facts, champion),
        )
    )
    record_health(setup, report, version=version)
    return report


def _feed_checks(setup: Setup, facts: HealthFacts, champion: LoadedModel | None) -> tuple[Check, ...]:
    """Judge silence, rate and labels."""
    config = setup.config
    usual = _usual_feed(facts.past)
    limit = config.alerts.max_silence
    silence = judge_silence(
        facts.newest,
        facts.as_of,
        usual=usual,
        limit=limit.amount if limit else None,
        known_lag=_known_lag(champion) if champion else None,
    )
    counts, labels = _recent_windows(setup)
    labelled = judge_labels(labels, min_rows=config.monitoring.min_rows)
    return silence, judge_rate(counts, usual=usual), labelled


def _usual_feed(past: Past | None) -> UsualFeed | None:
    series = past.series.get(DriftKind.DATA) if past else None
    if past is None or series is None:
        return None
    span = parse_span(past.window)
    return usual_feed(series.starts, series.rows, length=span.amount if span.unit == "seconds" else None)


def _known_lag(champion: LoadedModel) -> float | None:
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
            _learned_to(champion) if champion else None, facts.as_of, limit=age.amount if age else None
        ),
        judge_last_run(
            last_run(setup.stores.ledger, setup.model, before=facts.started),
            utc_now(),
            interval=config.monitoring.interval.amount,
        ),
    )


def _learned_to(champion: LoadedModel) -> float | None:
    plan = champion.plan
    if plan.clock != "timestamp" or plan.training is None or not np.isfinite(plan.training.end):
        return None
    return plan.training.end
