"""Monitor the champion: its next windows, each once and in two phases; one model or every configured one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.data.clock import Window, parse_position, require_order
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.calibration import calibration_table, expected_false_alarms
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.types import DriftKind, Level, Phase, SignalKey, worst
from evergreen.tasks.core.errors import Blocked, InputError, NotLearnable
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.monitoring import monitor
from evergreen.tasks.core.monitoring.monitor import StreamPosition, WindowCheck
from evergreen.tasks.core.monitoring.reference_series import FrozenReference, ReferenceSeries
from evergreen.tasks.core.monitoring.setup import ChampionMonitor, prepare_monitor
from evergreen.tasks.core.monitoring.window_result import window_alert
from evergreen.tasks.core.monitoring.windows import Windowing, WindowSchedule, windows_between
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.redact import without_credentials
from evergreen.tasks.data import open_source_of
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
    chosen = list_models(settings.config_dir) if models is None else models
    if not chosen:
        raise InputError(
            f"There is no model to monitor: {shown_path(settings.config_dir)}/ holds no YAML file. "
            "Write one by 'evergreen init'."
        )
    return chosen


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
    """Return the fleet's state: the most severe of its models, or Failed (naming them) where any of them failed."""
    from prefect.states import Completed, Failed

    levels = {level.state.value: level for level in Level}
    failed = [one for one in results if one["state"] not in (*levels, "Blocked")]
    if failed:
        names = "; ".join(f"{one['model']}: {one['reasons'][0]['message']}" for one in failed)
        return Failed(message=f"{len(failed)} of {len(results)} models failed: {names}")
    state = worst(levels[one["state"]] for one in results if one["state"] in levels).state.value
    message = ", ".join(f"{one['model']}: {one['state']}" for one in results)
    summary = {"state": state, "model": f"{len(results)} models", "reasons": [], "models": results}
    return Completed(name=state, message=message, data=summary)


# Who is monitored, and by what: the champion with the documents that were stored with it.


RegisteredMonitor = ChampionMonitor[LoadedModel]
"""Monitors a registered champion by the documents that were stored with its version."""


@stage_task(**TRANSIENT)
def load_monitor(setup: Setup) -> RegisteredMonitor:
    """Load the champion and prepare what it is monitored by.

    Raises
    ------
    Blocked
        ``disabled`` where ``monitoring.run_mode`` says so.
    NotLearnable
        ``no_champion``, or ``no_reference`` for a version without a profile.
    """
    if setup.config.monitoring.run_mode == "disabled":
        message = f"monitoring.run_mode of '{setup.model}' is disabled; no window was checked."
        raise Blocked("disabled", message)
    return monitor_of_champion(setup)


def monitor_of_champion(setup: Setup) -> RegisteredMonitor:
    """Prepare what the champion is monitored by; ``NotLearnable`` (``no_champion``) where there is none."""
    version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if version is None:
        message = f"Model '{setup.model}' has no @champion to monitor. Train, validate and challenge first."
        raise NotLearnable("no_champion", message)
    model = load_model(setup, version)
    profile = read_documents(setup, model.info, ("profile",))["profile"]
    past = ReferenceSeries.from_dict(read_optional(setup, model.info, "past"))
    return prepare_monitor(
        model,
        FrozenReference(profile=profile, past=past),
        config=setup.config,
        metric=deciding_metric(setup.config, custom=custom_metrics(setup.config)),
        version=version,
        trained_to=_trained_to(model),
    )


def _trained_to(model: LoadedModel) -> float | None:
    """Return the position from which on rows are new to a version; None where it is not known."""
    plan, tag = model.plan, model.info.tags.get("evergreen.trained_to")
    if plan.unseen_from is None and tag is not None:
        return parse_position(tag, clock=plan.clock)
    return plan.until if plan.unseen_from is None else plan.unseen_from


# Show the limits a champion is monitored by, the past they come from, and the false alarms to expect.


def show_drift_limits(setup: Setup) -> dict[str, Any]:
    """Return the limits of the champion's monitoring, and how they were calibrated.

    Returns
    -------
    dict
        ``state``, ``model``, ``version``, ``policy``, ``false_alarms`` (the budget, also per 90 days), ``limits``
        (one row a column and kind, see `evergreen.tasks.core.drift.calibration`, with ``past``: the quantiles of its
        signal in the reference's own windows), ``sentences`` for people, ``reasons``.

    Raises
    ------
    NotLearnable
        ``no_champion``.
    """
    monitored = monitor_of_champion(setup)
    policy = monitored.policy
    expected = expected_false_alarms(policy=policy)
    rows = [row for null in monitored.nulls.values() for row in calibration_table(null, policy=policy)]
    limits = [{**row, "past": past_quantiles(monitored.past, row)} for row in rows]
    return {
        "state": "Calibrated",
        "model": setup.model,
        "version": monitored.version,
        "policy": policy.name,
        "window": str(policy.window),
        "expected": expected,
        "limits": limits,
        "sentences": explain_limits(policy, expected, limits),
        "reasons": [reason.to_dict() for reason in monitored.notes],
    }


def past_quantiles(past: ReferenceSeries, row: dict[str, Any]) -> dict[str, float] | None:
    """Return the 5 %, 50 % and 95 % quantiles of a row's signal in the reference's own windows; None without any."""
    kind = DriftKind(row["kind"])
    series = past.series.get(kind)
    key = SignalKey(kind, row["column"], row["signal"])
    if series is None or key not in series.keys:
        return None
    values = series.values[:, series.keys.index(key)]
    values = values[np.isfinite(values)]
    shares = (0.05, 0.5, 0.95)
    return {f"{share:.0%}": float(np.quantile(values, share)) for share in shares} if len(values) else None


def explain_limits(policy: Policy, expected: dict[str, Any], limits: list[dict[str, Any]]) -> list[str]:
    """Return sentences for people on what the table means."""
    if policy.name == "fixed_thresholds":
        return [
            "Policy fixed_thresholds: fixed levels (drift.psi_critical, drift.ks_significance, …); no budget holds."
        ]
    quarter = f" ({expected['per_90_days']:.3g} per 90 days)" if expected["per_90_days"] else ""
    calibrations = [row["calibration"] for row in limits]
    theory, unknown = calibrations.count("theory"), calibrations.count("unknown")
    sentences = [
        f"Expected of a stationary stream: at most {policy.budget}{quarter}, over all columns and kinds of drift.",
        f"An alarm needs {policy.violated} of the last {policy.evaluated} windows of a column, or their mean; "
        "a move below the effect floor never alarms.",
    ]
    if theory:
        rest = "rest on sampling theory: the past has too few windows."
        sentences.append(f"{theory} of {len(limits)} rows {rest}")
    if unknown:
        season = "a season that the past is too short to know: INSUFFICIENT until then."
        sentences.append(f"{unknown} rows may have {season}")
    return sentences


# Monitor: check the champion's next windows, each once and in two phases.


@dataclass(frozen=True, kw_only=True, eq=False)
class MonitorRequest:
    """What a run is to check."""

    since: float = -math.inf
    until: float = math.inf
    """Slice of the clock; with a finite ``since`` windows of the past are checked again, and nothing is recorded."""
    now: float = math.inf
    """The present on a clock of timestamps, else infinite."""
    started: datetime
    """Aware: when the run began."""
    dry_run: bool = False
    """Check and report, record nothing."""

    @property
    def is_recheck(self) -> bool:
        """True when a past range is checked again."""
        return math.isfinite(self.since)

    @property
    def records(self) -> bool:
        """True when results are committed."""
        return not (self.is_recheck or self.dry_run)


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseResults:
    """Results of a run in one phase."""

    results: tuple[Mapping[str, Any], ...]
    """One a window in time order (`evergreen.tasks.core.monitoring.window_result.WindowResult.to_dict`)."""
    state: DetectorState
    """Of the detectors after the last window."""
    due: WindowSchedule
    decision_id: str | None = None
    """The newest entry of the ledger's stream; None for an empty one."""
    newest_rows: Rows | None = None
    """Rows of the newest window that had any."""
    newest_check: WindowCheck | None = None


def read_monitor_request(
    setup: Setup, *, since: str | None, until: str | None, dry_run: bool
) -> MonitorRequest:
    """Turn what was typed into positions.

    Raises
    ------
    InputError
        When a moment is not on the model's clock, or the range ends before it starts.
    """
    clock, started = Windowing.of(setup.config).clock, utc_now()
    begin = -math.inf if since is None else parse_position(since, clock=clock)
    end = math.inf if until is None else parse_position(until, clock=clock)
    require_order(begin, end, clock=clock)
    return MonitorRequest(
        since=begin,
        until=end,
        now=started.timestamp() if clock == "timestamp" else math.inf,
        started=started,
        dry_run=dry_run or setup.config.monitoring.run_mode == "dry_run",
    )


def windows_of(setup: Setup, monitored: RegisteredMonitor) -> WindowSource:
    """Return where the model's windows come from."""
    if setup.config.monitoring.source == "log":
        return LogWindows(setup.stores.log, setup.config)
    return DataWindows(open_source_of(setup), also=monitored.model.columns)


def stream_of(setup: Setup, monitored: RegisteredMonitor, phase: Phase) -> WindowStream:
    """Return the stream of a phase's results."""
    stores, clock = setup.stores, monitored.clock
    return WindowStream(ledger=stores.ledger, log=stores.log, model=setup.model, phase=phase, clock=clock)


@stage_task(**TRANSIENT, task_run_name="check {phase.value}")
def check_due_windows(
    setup: Setup, monitored: RegisteredMonitor, request: MonitorRequest, phase: Phase
) -> PhaseResults:
    """Check every window of a phase that is due, oldest first, and commit each before the next."""
    stream, source = stream_of(setup, monitored, phase), windows_of(setup, monitored)
    position = StreamPosition(state=DetectorState.empty()) if request.is_recheck else stream.head()
    positions, due = find_due(setup, monitored, request, phase, position, source)
    results: list[Mapping[str, Any]] = []
    newest_rows, check = None, None
    for window in read_windows(source, due.windows, positions=positions):
        check = monitor.monitor_window(monitored, window.due, window.rows, late=window.late, head=position)
        if request.records:
            alert = window_alert(check.result, position.alert, config=setup.config, clock=monitored.clock)
            entry = stream.commit(check, alert, after=position.seq)
            position = monitor.after_check(position, check, alert, seq=entry.seq)
        else:
            position = StreamPosition(state=check.state, version=monitored.version)
        results.append(check.result.to_dict(clock=monitored.clock))
        newest_rows = monitor.readable_rows(monitored, window.rows) if len(window.rows) else newest_rows
        report_progress(len(results), len(due.windows), results[-1])
    last = setup.stores.ledger.last(setup.model, stream.name)
    return PhaseResults(
        results=tuple(results),
        state=position.state,
        due=due,
        decision_id=last.id if last else None,
        newest_rows=newest_rows,
        newest_check=check,
    )


def find_nothing_due(
    setup: Setup, monitored: RegisteredMonitor, request: MonitorRequest, phase: Phase
) -> PhaseResults | None:
    """Return the results of a phase in which no window is due; None where one is."""
    stream = stream_of(setup, monitored, phase)
    position = stream.head()
    _, due = find_due(setup, monitored, request, phase, position, windows_of(setup, monitored))
    if due.windows:
        return None
    entry = setup.stores.ledger.last(setup.model, stream.name)
    return PhaseResults(results=(), state=position.state, due=due, decision_id=entry.id if entry else None)


def find_due(
    setup: Setup,
    monitored: RegisteredMonitor,
    request: MonitorRequest,
    phase: Phase,
    position: StreamPosition,
    source: WindowSource,
) -> tuple[FloatArray, WindowSchedule]:
    """Return the positions of the rows that windows are cut from, and the windows to check."""
    trained_to = monitored.trained_to
    if request.is_recheck:
        positions, span = source.positions(request.since), Window(request.since, request.until)
        cutting = Windowing.of(setup.config)
        windows = windows_between(positions, cutting=cutting, phase=phase, window=span, trained_to=trained_to)
        newest = float(positions[-1]) if len(positions) else None
        return positions, WindowSchedule(windows=windows, newest=newest)
    judged = None
    if phase is Phase.OUTCOMES:
        judged = judged_since(setup.stores.ledger, setup.model, Phase.INPUTS, position.end)
    positions = source.positions(monitor.frontier(position, learned=trained_to, judged=judged))
    # a dry run checks outcomes of windows whose inputs it does not record
    if judged is not None and request.dry_run:
        head = stream_of(setup, monitored, Phase.INPUTS).head()
        _, inputs = find_due(setup, monitored, request, Phase.INPUTS, head, source)
        judged += [each.window for each in inputs.windows]
    return positions, monitor.find_due(
        positions, monitored, phase, position, judged=judged, now=request.now, until=request.until
    )


def report_progress(done: int, total: int, result: Mapping[str, Any]) -> None:
    """Log how far the run is: each of few windows, else every tenth part."""
    from prefect import get_run_logger

    if total <= 10 or done % max(total // 10, 1) == 0 or done == total:
        get_run_logger().info(
            "%s %d/%d, window from %s: %s", result["phase"], done, total, result["from"], result["level"]
        )
