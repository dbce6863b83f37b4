"""Run one flow for every configured model in one process; a model that fails does not stop the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.data.clock import Window, parse_position
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.limits_table import calibration_table, expected_false_alarms
from evergreen.tasks.core.drift.types import DriftKind, Level, Phase, SignalKey, worst
from evergreen.tasks.core.errors import Blocked, InputError, NotLearnable
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.monitoring import monitor as guarding
from evergreen.tasks.core.monitoring.monitor import StreamPosition, WindowCheck, after_check, frontier
from evergreen.tasks.core.monitoring.reference_series import FrozenReference, ReferenceSeries
from evergreen.tasks.core.monitoring.setup import MonitorSetup
from evergreen.tasks.core.monitoring.window_result import window_alert
from evergreen.tasks.core.monitoring.windows import Windowing, WindowSchedule, windows_between
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.io.config import custom_metrics, list_models, shown_path
from evergreen.tasks.io.mlflow_store.documents import read_documents, read_optional
from evergreen.tasks.io.mlflow_store.models import LoadedModel, load_model
from evergreen.tasks.io.settings import read_settings, utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.windows import (
    DataWindows,
    LogWindows,
    WindowSource,
    WindowStream,
    judged_since,
    read_windows,
)
from evergreen.tasks.runtime.sources import open_source_of
from evergreen.tasks.runtime.task import TRANSIENT, stage_task

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State as PrefectState


def fleet_models(models: list[str] | None) -> list[str]:
    """Return the models to visit: those named, else every configured one.

    Raises
    ------
    InputError
        When there is none.
    """
    settings = read_settings()
    found = list_models(settings.config_dir) if models is None else models
    if not found:
        raise InputError(
            f"There is no model to monitor: {shown_path(settings.config_dir)}/ holds no YAML file. "
            "Write one by 'evergreen init'."
        )
    return found


def visit(flow: Callable[..., PrefectState], model: str, **options: Any) -> dict[str, Any]:
    """Run a flow for one model as a subflow and return its result; a failure is a result like any other."""
    state = flow(model=model, **options, return_state=True)
    if state.is_completed():
        return dict(state.result())
    from prefect import get_run_logger

    why = " ".join(without_credentials(str(state.message or state.name)).split())
    get_run_logger().error("%s: %s (%s)", model, state.name, why)
    reason = {"code": "failed", "message": why, "observed": state.name, "limit": None}
    return {"state": state.name or "Failed", "model": model, "reasons": [reason]}


def conclude_fleet(results: list[dict[str, Any]]) -> PrefectState:
    """Return the fleet's state: the gravest of its models, or Failed (naming them) where any of them failed."""
    from prefect.states import Completed, Failed

    known = {level.state.value: level for level in Level}
    broken = [one for one in results if one["state"] not in known and one["state"] != "Blocked"]
    if broken:
        names = "; ".join(f"{one['model']}: {one['reasons'][0]['message']}" for one in broken)
        return Failed(message=f"{len(broken)} of {len(results)} models failed: {names}")
    state = worst(known[one["state"]] for one in results if one["state"] in known).state.value
    message = ", ".join(f"{one['model']}: {one['state']}" for one in results)
    summary = {"state": state, "model": f"{len(results)} models", "reasons": [], "models": results}
    return Completed(name=state, message=message, data=summary)


# Who is watched, and by what: the champion with the documents that were frozen with it.


@dataclass(frozen=True, kw_only=True, eq=False)
class RegisteredMonitor(guarding.ChampionMonitor):
    """The guard of a registered champion."""

    model: LoadedModel


@stage_task(**TRANSIENT)
def load_monitor(setup: Setup) -> RegisteredMonitor:
    """Load the champion and prepare its watch.

    Raises
    ------
    Blocked
        ``disabled`` where ``monitoring.run_mode`` says so.
    NotLearnable
        ``no_champion``, or ``no_reference`` for a version without a profile.
    """
    if setup.config.monitoring.run_mode == "disabled":
        raise Blocked(
            "disabled", f"monitoring.run_mode of '{setup.model}' is disabled; no window was checked."
        )
    version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if version is None:
        raise NotLearnable(
            "no_champion",
            f"Model '{setup.model}' has no @champion to watch. Train, validate and challenge first.",
        )
    return monitor_of_version(setup, load_model(setup, version))


def monitor_of_version(setup: Setup, model: LoadedModel) -> RegisteredMonitor:
    """Prepare the watch of a version from its documents."""
    kept = read_documents(setup, model.info, ("profile",))
    past = ReferenceSeries.from_dict(read_optional(setup, model.info, "past"))
    prepared = guarding.prepare_monitor(
        model,
        FrozenReference(profile=kept["profile"], past=past),
        config=setup.config,
        metric=deciding_metric(setup.config, custom=custom_metrics(setup.config)),
        version=model.info.version,
        trained_to=_trained_to(model),
    )
    return RegisteredMonitor(model=model, past=prepared.past, watch=prepared.watch)


def _trained_to(model: LoadedModel) -> float | None:
    """Return the position from which on rows are new to a version; None where it is not known."""
    plan, told = model.plan, model.info.tags.get("evergreen.trained_to")
    if plan.unseen_from is not None:
        return plan.unseen_from
    if told is not None:
        return parse_position(told, clock=plan.clock)
    return plan.until


# Show what a model is watched by: the limits, the past they come from, and the false alarms to expect.


_QUANTILES = (0.05, 0.5, 0.95)


def show_drift_limits(setup: Setup) -> dict[str, Any]:
    """Return the calibration of the champion's watch.

    Returns
    -------
    dict
        ``state``, ``model``, ``version``, ``policy``, ``false_alarms`` (the budget, also per 90 days), ``limits``
        (one row a column and kind, see `evergreen.tasks.core.drift.limits_table`, with ``past``: the quantiles of its
        signal in the reference's own windows), ``sentences`` for people, ``reasons``.

    Raises
    ------
    NotLearnable
        ``no_champion``.
    """
    version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if version is None:
        raise NotLearnable(
            "no_champion",
            f"Model '{setup.model}' has no @champion, so nothing is calibrated. Train one first.",
        )
    guard = monitor_of_version(setup, load_model(setup, version))
    watch, expected = guard.watch, expected_false_alarms(policy=guard.watch.policy)
    rows = [row for null in watch.nulls.values() for row in calibration_table(null, policy=watch.policy)]
    limits = [{**row, "past": past_quantiles(guard.past, row)} for row in rows]
    return {
        "state": "Calibrated",
        "model": setup.model,
        "version": version,
        "policy": watch.policy.name,
        "window": str(watch.policy.window),
        "expected": expected,
        "limits": limits,
        "sentences": explain_limits(watch, expected, limits),
        "reasons": [reason.to_dict() for reason in watch.notes],
    }


def past_quantiles(past: ReferenceSeries, row: dict[str, Any]) -> dict[str, float] | None:
    """Return the quantiles of a row's signal in the reference's own windows; None without any."""
    kind = DriftKind(row["kind"])
    series = past.series.get(kind)
    key = SignalKey(kind, row["column"], row["signal"])
    if series is None or key not in series.keys:
        return None
    values = series.values[:, series.keys.index(key)]
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return {f"{share:.0%}": float(np.quantile(known, share)) for share in _QUANTILES}


def explain_limits(watch: MonitorSetup, expected: dict[str, Any], limits: list[dict[str, Any]]) -> list[str]:
    """Say for people what the table means."""
    policy = watch.policy
    if policy.name == "fixed_thresholds":
        return [
            "Policy fixed_thresholds: fixed levels (drift.psi_critical, drift.ks_significance, …); no budget holds."
        ]
    quarter = f" ({expected['per_90_days']:.3g} per 90 days)" if expected["per_90_days"] else ""
    theory = sum(row["calibration"] == "theory" for row in limits)
    unknown = sum(row["calibration"] == "unknown" for row in limits)
    said = [
        f"Expected of a stationary stream: at most {policy.budget}{quarter}, over all columns and kinds of drift.",
        f"An alarm needs {policy.violated} of the last {policy.evaluated} windows of a column, or their mean; "
        "a move below the effect floor never alarms.",
    ]
    if theory:
        said.append(f"{theory} of {len(limits)} rows rest on sampling theory: the past has too few windows.")
    if unknown:
        said.append(
            f"{unknown} rows may have a season that the past is too short to know: INSUFFICIENT until then."
        )
    return said


# Monitor: look at the champion's next windows, each once and in two phases, and say what drifted.


@dataclass(frozen=True, kw_only=True, eq=False)
class MonitorRequest:
    """What a run was asked to look at.

    Attributes
    ----------
    since, until : float
        Slice of the clock; with a finite ``since`` it is a look back, of which nothing is recorded.
    now : float
        The present on a clock of timestamps, else infinite.
    dry_run : bool
        Look and report, record nothing.
    """

    since: float = -math.inf
    until: float = math.inf
    now: float = math.inf
    dry_run: bool = False

    @property
    def looks_back(self) -> bool:
        """True when a past range is looked at again."""
        return math.isfinite(self.since)

    @property
    def records(self) -> bool:
        """True when looks are committed."""
        return not (self.looks_back or self.dry_run)


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseResults:
    """What a run has looked at in one phase.

    Attributes
    ----------
    looks : tuple of dict
        In time order, with everything (`evergreen.tasks.core.monitoring.window_result.WindowResult.to_dict`).
    memory : Memory
        What the judge remembers at the end.
    due : Due
        What was due.
    decision_id : str | None
        The newest entry of the ledger's stream; None for an empty one.
    newest : Rows | None
        Rows of the newest window that had any.
    seen : Seen | None
        The newest look.
    """

    looks: tuple[Mapping[str, Any], ...]
    memory: DetectorState
    due: WindowSchedule
    decision_id: str | None = None
    newest: Rows | None = None
    seen: WindowCheck | None = None


def read_monitor_request(
    setup: Setup, *, since: str | None, until: str | None, dry_run: bool
) -> MonitorRequest:
    """Turn what was typed into positions.

    Raises
    ------
    InputError
        When a moment is not on the model's clock.
    """
    clock = Windowing.of(setup.config).clock
    now = utc_now().timestamp() if clock == "timestamp" else math.inf
    return MonitorRequest(
        since=-math.inf if since is None else parse_position(since, clock=clock),
        until=math.inf if until is None else parse_position(until, clock=clock),
        now=now,
        dry_run=dry_run or setup.config.monitoring.run_mode == "dry_run",
    )


def windows_of(setup: Setup, guard: RegisteredMonitor) -> WindowSource:
    """Return where the model's windows come from."""
    if setup.config.monitoring.source == "log":
        return LogWindows(setup.stores.log, setup.config)
    return DataWindows(open_source_of(setup), also=guard.model.columns)


def stream_of(setup: Setup, guard: RegisteredMonitor, phase: Phase) -> WindowStream:
    """Return the stream of looks of a phase."""
    stores = setup.stores
    return WindowStream(
        ledger=stores.ledger, log=stores.log, model=setup.model, phase=phase, clock=guard.watch.clock
    )


@stage_task(**TRANSIENT, task_run_name="look at {phase.value}")
def check_due_windows(
    setup: Setup, guard: RegisteredMonitor, asked: MonitorRequest, phase: Phase
) -> PhaseResults:
    """Look at every window of a phase that is due, oldest first, and commit each before the next."""
    stream, source = stream_of(setup, guard, phase), windows_of(setup, guard)
    head = StreamPosition(memory=DetectorState.empty()) if asked.looks_back else stream.head()
    positions, due = find_due(setup, guard, asked, phase, head, source)
    told: list[Mapping[str, Any]] = []
    newest, seen = None, None
    for found in read_windows(source, due.windows, positions=positions):
        seen = guarding.monitor_window(
            guard, found.due, found.rows, late=found.late, head=head, config=setup.config
        )
        if asked.records:
            head = commit(setup, guard, stream, seen, head)
        else:
            head = StreamPosition(memory=seen.memory, version=guard.version)
        told.append(seen.result.to_dict(clock=guard.watch.clock))
        newest = guarding.readable_rows(guard, found.rows) if len(found.rows) else newest
        report_progress(len(told), len(due.windows), told[-1])
    entry = setup.stores.ledger.last(setup.model, stream.name)
    return PhaseResults(
        looks=tuple(told),
        memory=head.memory,
        due=due,
        decision_id=entry.id if entry else None,
        newest=newest,
        seen=seen,
    )


def find_nothing_due(
    setup: Setup, guard: RegisteredMonitor, asked: MonitorRequest, phase: Phase
) -> PhaseResults | None:
    """Return what a run has of a phase in which no window is due; None where one is."""
    stream = stream_of(setup, guard, phase)
    head = stream.head()
    _, due = find_due(setup, guard, asked, phase, head, windows_of(setup, guard))
    if due.windows:
        return None
    entry = setup.stores.ledger.last(setup.model, stream.name)
    return PhaseResults(looks=(), memory=head.memory, due=due, decision_id=entry.id if entry else None)


def find_due(
    setup: Setup,
    guard: RegisteredMonitor,
    asked: MonitorRequest,
    phase: Phase,
    head: StreamPosition,
    source: WindowSource,
) -> tuple[FloatArray, WindowSchedule]:
    """Return the positions of the rows from the frontier on, and the windows to look at."""
    learned = guard.watch.trained_to
    if asked.looks_back:
        return _find_past_windows(setup, asked, phase, source, learned=learned)
    judged = None
    if phase is Phase.OUTCOMES:
        judged = judged_since(setup.stores.ledger, setup.model, Phase.INPUTS, head.end)
    positions = source.positions(frontier(head, learned=learned, judged=judged))
    if judged is not None and asked.dry_run:
        judged += unrecorded(setup, guard, asked, source)
    return positions, guarding.find_due(
        positions, guard, phase, head, config=setup.config, judged=judged, now=asked.now, until=asked.until
    )


def _find_past_windows(
    setup: Setup, asked: MonitorRequest, phase: Phase, source: WindowSource, *, learned: float | None
) -> tuple[FloatArray, WindowSchedule]:
    """Return the same for a past range that is looked at again."""
    positions = source.positions(asked.since)
    span = Window(asked.since, asked.until)
    cutting = Windowing.of(setup.config)
    windows = windows_between(positions, cutting=cutting, phase=phase, window=span, trained_to=learned)
    newest = float(positions[-1]) if len(positions) else None
    return positions, WindowSchedule(windows=windows, newest=newest)


def unrecorded(
    setup: Setup, guard: RegisteredMonitor, asked: MonitorRequest, source: WindowSource
) -> list[Window]:
    """Return the windows whose inputs a dry run looks at: it shows their outcomes as well."""
    head = stream_of(setup, guard, Phase.INPUTS).head()
    _, due = find_due(setup, guard, asked, Phase.INPUTS, head, source)
    return [each.window for each in due.windows]


def commit(
    setup: Setup, guard: RegisteredMonitor, stream: WindowStream, seen: WindowCheck, head: StreamPosition
) -> StreamPosition:
    """Commit a look with its alert; return where the stream stands then."""
    alert = window_alert(seen.result, head.alert, policy=guarding.alert_policy(guard, config=setup.config))
    entry = stream.commit(seen, alert, after=head.seq)
    return after_check(head, seen, alert, seq=entry.seq)


def report_progress(done: int, total: int, look: Mapping[str, Any]) -> None:
    """Say in the run's log how far it is: each of few windows, else every tenth part."""
    from prefect import get_run_logger

    if total <= 10 or done % max(total // 10, 1) == 0 or done == total:
        get_run_logger().info(
            "%s %d/%d, window from %s: %s", look["phase"], done, total, look["from"], look["level"]
        )
