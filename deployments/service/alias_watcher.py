"""Watch the aliases: load and smoke-test the versions they name, serve them, and raise an alarm for refused ones."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from evergreen.deployments.servers import spawn
from evergreen.deployments.service.errors import place_of
from evergreen.deployments.service.live import Live, ServedModel, ServedVersion
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.model_loader import VersionCache, public_reason, reason_of
from evergreen.tasks.core.alerts.alert import Alert
from evergreen.tasks.core.health.checks import Condition, HealthReport, check
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.traffic.decide import TrafficDecision, renew_stop
from evergreen.tasks.core.traffic.plan import TrafficPlan, plain_plan
from evergreen.tasks.core.traffic.state import TRAFFIC, TrafficState
from evergreen.tasks.io.alerts import record_health
from evergreen.tasks.io.serving_cache import ServingCache
from evergreen.tasks.io.settings import python_path, utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.traffic import settle, traffic_in_force

logger = logging.getLogger(__name__)

CHECK = "serving"
"""Name of the check, beside those of monitoring."""


class ServingAlarm:
    """The alarm of a service: recorded once when it opens and once when it is over, and sent at once.

    Parameters
    ----------
    setup : Setup
        The model.
    deliver : callable
        Sends what is due of the model, and returns at once.
    record : callable
        Writes a health report and returns the alert; ``record_health``.
    """

    def __init__(
        self, setup: Setup, *, deliver: Callable[[Setup], None], record: Callable[..., Alert] = record_health
    ) -> None:
        self._setup, self._deliver, self._write = setup, deliver, record
        self._recorded: str | None = ""
        self._recording = threading.Lock()
        self._closed = False

    def update(self, problem: str | None, *, version: int | None) -> None:
        """Open the alarm, or close it (None); do nothing where it is as it was.

        While the ledger does not answer, this is tried again at the next check.
        """
        with self._recording:
            if problem != self._recorded and not self._closed:
                self._record(problem, version=version)

    def close(self, *, timeout: float) -> None:
        """Record nothing more; what is being recorded is finished first, within so many seconds."""
        self._closed = True
        if self._recording.acquire(timeout=timeout):
            self._recording.release()
        else:
            logger.error("%s: the ledger did not record the alarm in %g s", self._setup.model, timeout)

    def _record(self, problem: str | None, *, version: int | None) -> None:
        condition = Condition.FAILED if problem else Condition.OK
        one = check(CHECK, condition, f"{problem}." if problem else "The service serves what is wanted.")
        try:
            alert = self._write(self._setup, HealthReport(checks=(one,)), version=version)
        except Exception as error:  # the ledger is away: answering goes on
            logger.warning("%s: the alarm cannot be recorded: %s", self._setup.model, reason_of(error))
            return
        self._recorded = problem
        if alert.speaks:
            self._deliver(self._setup)


def deliver_alerts(setup: Setup) -> None:
    """Send what is due in a process of its own: channels may be slow, and a service needs no Prefect."""
    command = [sys.executable, "-m", "evergreen.deployments.cli"]
    command += ["alert", str(setup.path), "--deliver", "--json"]
    logs = setup.settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    child = spawn(logs / "alerts.log", command, {"PYTHONPATH": python_path()})
    threading.Thread(target=child.wait, name="evergreen-alert", daemon=True).start()


class LastServed:
    """What one model serves, written to disk for a restart; removes copies of other versions; for one thread.

    Parameters
    ----------
    model : str
        Registered model name.
    cache : ServingCache
        Where it is written, beside the copies.
    """

    def __init__(self, model: str, cache: ServingCache) -> None:
        self._model, self._cache = model, cache
        self._due: tuple[Mapping[str, int], TrafficPlan, Collection[int]] | None = None
        self._failed = False

    def went_live(self, aliases: Mapping[str, int], plan: TrafficPlan, *, keep: Collection[int]) -> None:
        """Take what is to be written, and the versions whose copies stay; `settle` does it."""
        self._due = (dict(aliases), plan, keep)

    def settle(self) -> None:
        """Write what is due, and only then remove other copies; a full disk is tried again at the next check."""
        if self._due is None:
            return
        aliases, plan, keep = self._due
        try:
            self._cache.remember(dict(aliases), traffic=plan.to_dict(), at=utc_now())
            self._cache.prune(keep)
        except OSError as error:
            if not self._failed:
                logger.error("%s: what is live cannot be written to disk: %s", self._model, reason_of(error))
            self._failed = True
            return
        self._due, self._failed = None, False


class KeptStop:
    """A stop in force here until the ledger has it or a newer one; on disk before it takes effect, for a restart.

    Parameters
    ----------
    model : str
        Registered model name.
    cache : ServingCache
        Where it is written.

    Attributes
    ----------
    decision : TrafficDecision | None
        The stop; at first the one that a former process left. None where none is in force.
    """

    def __init__(self, model: str, cache: ServingCache) -> None:
        self._model, self._cache = model, cache
        payload = cache.read_stop()
        self.decision = None if payload is None else TrafficDecision.stop_from_payload(payload)
        self._over: TrafficDecision | None = None

    def write(self, stop: TrafficDecision) -> None:
        """Write a stop to disk; where the disk is full it is in force until this process ends."""
        try:
            self._cache.store_stop(stop.to_payload())
        except OSError as error:
            logger.error("%s: the stop cannot be written to disk: %s", self._model, reason_of(error))

    def applied_to(self, state: TrafficState) -> TrafficState | None:
        """Return traffic with the stop applied; None where there is none, or nothing left for it to stop."""
        renewed = None if self.decision is None else renew_stop(self.decision, state)
        return None if renewed is None else renewed.state

    def release(self) -> None:
        """End the stop: the ledger has it, or a newer one."""
        self._over, self.decision = self.decision or self._over, None

    def settle(self) -> None:
        """Remove a released stop from disk, unless a restart from what was live last would undo it."""
        if self._over is None:
            return
        last = self._cache.last_good()
        was_live = TrafficState(plan=TrafficPlan.from_dict(last["traffic"])) if last else None
        if was_live is None or renew_stop(self._over, was_live) is None:
            self._cache.remove_stop(self._over.to_payload())
            self._over = None


class AliasWatcher:
    """Keeps what one model serves in step with its aliases and traffic, in a thread of its own.

    Parameters
    ----------
    setup : Setup
        The model.
    served : ServedModel
        Gets the live versions.
    metrics : ServiceMetrics
        Where versions are shown.
    alarm : ServingAlarm
        Opened while a version is refused.
    make_versions : callable
        Makes the ``VersionCache``.
    """

    def __init__(
        self,
        setup: Setup,
        served: ServedModel,
        *,
        metrics: ServiceMetrics,
        alarm: ServingAlarm,
        make_versions: Callable[..., VersionCache] = VersionCache,
    ) -> None:
        self._setup, self._served, self._metrics = setup, served, metrics
        self._alarm = alarm
        self._cache = ServingCache(setup)
        self._versions = make_versions(setup, self._cache, metrics=metrics)
        self._last_served = LastServed(setup.model, self._cache)
        self._traffic: TrafficState | None = None
        self._kept_stop = KeptStop(setup.model, self._cache)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"evergreen-follow-{setup.model}", daemon=True)

    @property
    def stopped(self) -> TrafficDecision | None:
        """The stop in force here, recorded or not: at first what a former process left; None where there is none."""
        return self._kept_stop.decision

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a version that is being loaded is dropped."""
        self._stop.set()

    def check(self) -> None:
        """Read the registry and the ledger once, serve what they name as far as it passes, and write that to disk."""
        self._follow()
        self._last_served.settle()
        self._kept_stop.settle()

    def _follow(self) -> None:
        aliases = self._ask_registry()
        if aliases is None:
            self._begin_from_cache()
            return
        champion = aliases.get(CHAMPION)
        self._served.aliases, self._served.no_champion = aliases, champion is None
        if champion is None:  # a missing alias is no order to stop answering
            if self._served.live is not None:
                problem = "The alias @champion is gone; the last champion goes on serving"
                self._alarm.update(problem, version=None)
            return
        self._serve(champion, self._ask_traffic(champion))
        self._served.from_cache = False

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.check()
            except Exception as error:  # the thread must not die: what is live stays
                reason, place = reason_of(error), place_of(error)
                logger.error("%s: the aliases cannot be followed: %s at %s", self._setup.model, reason, place)
            self._stop.wait(self._served.config.serving.poll.amount)

    def _ask_registry(self) -> dict[str, int] | None:
        """Return the aliases; None when the registry does not answer."""
        served = self._served
        try:
            aliases = self._setup.stores.registry.aliases(self._setup.model)
        except Exception as error:  # a store that is away may raise anything
            if served.away_since is None:
                served.away_since = utc_now()
                logger.warning("%s: the registry does not answer: %s", self._setup.model, reason_of(error))
            served.registry_error = f"does not answer: {public_reason(error)}"
            self._metrics.registry_up.labels(self._setup.model).set(0)
            return None
        if served.away_since is not None:
            logger.info("%s: the registry answers again", self._setup.model)
        served.registry_error = served.away_since = None
        self._metrics.registry_up.labels(self._setup.model).set(1)
        return aliases

    def _ask_traffic(self, champion: int) -> TrafficState:
        """Return the traffic that is wanted; while the ledger does not answer, the last one.

        What was stopped here stays stopped, whatever step another service writes, until the stop is in the ledger or
        a person has set something newer.
        """
        ledger, model = self._setup.stores.ledger, self._setup.model
        try:
            before = self._served.live
            if before is None or before.champion.number != champion:
                settle(ledger, model, champion=champion, at=utc_now())
            wanted = traffic_in_force(ledger, model, champion=champion)
        except Exception as error:  # as above; every arm stays as it is
            logger.warning("%s: the traffic cannot be read: %s", model, reason_of(error))
            if self._traffic is None:
                self._traffic = self._last_traffic(champion)
            return self._traffic
        with self._lock:
            stopped = self._kept_stop.applied_to(wanted)
            if stopped is None:
                self._kept_stop.release()
            if (wanted := stopped or wanted) != self._traffic:
                self._traffic = wanted
        return self._traffic

    def _last_traffic(self, champion: int) -> TrafficState:
        """Return the traffic that was served last on this machine with a champion; with another one it is plain."""
        last = self._cache.last_good()
        if last is not None and last["aliases"][CHAMPION] == champion:
            return self._as_it_was(last)
        return TrafficState(plan=plain_plan(salt=f"{self._setup.model}/{TRAFFIC}/0"))

    def _as_it_was(self, last: dict[str, Any]) -> TrafficState:
        """Return the traffic that was live last, with what was stopped since."""
        traffic = TrafficState(plan=TrafficPlan.from_dict(last["traffic"]))
        return self._kept_stop.applied_to(traffic) or traffic

    def _begin_from_cache(self) -> None:
        """Serve what was served last, from the copies on disk, when nothing is live yet."""
        last = self._cache.last_good() if self._served.live is None else None
        if last is None:
            return
        self._served.aliases = dict(last["aliases"])
        self._traffic = self._as_it_was(last)
        self._serve(last["aliases"][CHAMPION], self._traffic)
        if self._served.live is not None:
            self._served.from_cache = True
            number, at = self._served.live.champion.number, last["at"]
            logger.warning("%s: serving version %d from its copy, live at %s", self._setup.model, number, at)

    def _serve(self, champion: int, traffic: TrafficState) -> None:
        """Make what is wanted live, as far as it passes; in one assignment."""
        wanted = self._versions.get(champion, CHAMPION)
        before = self._served.live
        first = wanted or (before.champion if before else self._last_champion(champion))
        if first is None:
            self._update_alarm({champion})
            return
        arms = self._versions.arms(traffic.plan, first)
        self._update_alarm({champion, *traffic.plan.versions})
        if before is None or not before.serves(first, traffic, arms):
            live = Live(champion=first, traffic=traffic, arms=arms)
            with self._lock:  # what was stopped in the meantime stays stopped
                if traffic is not self._traffic:
                    return
                self._served.live = live
            self._went_live(live, complete=wanted is not None)

    def stop_challengers(self, stop: TrafficDecision) -> None:
        """Let the champion answer everything at once, whatever the ledger says until it has the stop, or a newer one.

        The stop is on disk before it takes effect: if this process dies, the next one keeps it.
        """
        self._kept_stop.write(stop)
        state = stop.state
        with self._lock:
            live = self._served.live
            self._kept_stop.decision, self._traffic = stop, state
            if live is not None:
                arms = {one.name: live.arms[one.name] for one in state.plan.variants if one.name in live.arms}
                self._served.live = Live(champion=live.champion, traffic=state, arms=arms)

    def _last_champion(self, refused: int) -> ServedVersion | None:
        """Return the champion that was served last on this machine, where the one that is wanted was refused."""
        last = self._cache.last_good()
        number = last["aliases"][CHAMPION] if last else refused
        return self._versions.get(number, CHAMPION) if number != refused else None

    def _update_alarm(self, wanted: set[int]) -> None:
        """Show which wanted versions are refused; open or close the alarm."""
        live, refused = self._served.live, self._versions.refusals(wanted)
        self._served.refused = refused
        serving = f"version {live.champion.number} goes on serving" if live else "nothing is served"
        lines = [f"version {one.version} was refused as {one.role}: {one.detail}" for one in refused]
        problem = "; ".join([*lines, serving]) if refused else None
        self._alarm.update(problem, version=live.champion.number if live else None)

    def _went_live(self, live: Live, *, complete: bool) -> None:
        logger.info("%s: live: %s", self._setup.model, ", ".join(f"{k}={v}" for k, v in live.numbers.items()))
        self._metrics.show_versions(self._setup.model, live.numbers)
        keep = self._versions.keep(set(live.numbers.values()))
        if complete:
            self._last_served.went_live(self._served.aliases, live.plan, keep=keep)
