"""The alarm of a service: kept in the ledger once when it opens and once when it is over, and sent at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from evergreen.deployments.service.errors import place_of
from evergreen.deployments.service.live import Live, ServedArm, ServedModel, ServedVersion
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
from evergreen.tasks.io.settings import import_root, utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.traffic import settle, traffic_in_force

logger = logging.getLogger(__name__)

CHECK = "serving"
"""Name of the check, beside those of monitoring."""


class ServingAlarm:
    """Tells of what a service cannot do.

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
        self._setup, self._deliver, self._record = setup, deliver, record
        self._told: str | None = ""
        self._telling = threading.Lock()
        self._closed = False

    def tell(self, trouble: str | None, *, version: int | None) -> None:
        """Open the alarm, or close it (None); nothing where it is as it was.

        While the ledger does not answer it is told again at the next look.
        """
        with self._telling:
            if trouble != self._told and not self._closed:
                self._tell(trouble, version=version)

    def close(self, *, timeout: float) -> None:
        """Tell nothing more; what is being told is kept and sent first, within so many seconds."""
        self._closed = True
        if self._telling.acquire(timeout=timeout):
            self._telling.release()
        else:
            logger.error("%s: the ledger took no alarm in %g s", self._setup.model, timeout)

    def _tell(self, trouble: str | None, *, version: int | None) -> None:
        condition = Condition.FAILED if trouble else Condition.OK
        one = check(CHECK, condition, f"{trouble}." if trouble else "The service serves what is wanted.")
        try:
            alert = self._record(self._setup, HealthReport(checks=(one,)), version=version)
        except Exception as error:  # the ledger is away: answering goes on
            logger.warning("%s: the alarm cannot be kept: %s", self._setup.model, reason_of(error))
            return
        self._told = trouble
        if alert.speaks:
            self._deliver(self._setup)


def deliver_alerts(setup: Setup) -> None:
    """Send what is due in a process of its own: channels may be slow, and a service needs no Prefect."""
    command = [
        sys.executable,
        "-m",
        "evergreen.deployments.cli",
        "alert",
        str(setup.path),
        "--deliver",
        "--json",
    ]
    logs = setup.settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "alerts.log").open("ab") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env=_environ()
        )
    threading.Thread(target=child.wait, name="evergreen-alert", daemon=True).start()


def _environ() -> dict[str, str]:
    """Return this environment, with this code first on the path wherever the service was started."""
    root = str(import_root())
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


# What is served, noted on disk for a restart; what a full disk does not take is noted once it does.


class LastServed:
    """Keeps the note of what one model serves, and removes copies of what is not served; for one thread.

    Parameters
    ----------
    model : str
        Registered model name.
    cache : ServingCache
        Where the note lies, beside the copies.
    """

    def __init__(self, model: str, cache: ServingCache) -> None:
        self._model, self._cache = model, cache
        self._due: tuple[Mapping[str, int], TrafficPlan, Collection[int]] | None = None
        self._failed = False

    def went_live(self, aliases: Mapping[str, int], plan: TrafficPlan, *, kept: Collection[int]) -> None:
        """Take what is to be noted, and the versions whose copies stay; `settle` does it."""
        self._due = (dict(aliases), plan, kept)

    def settle(self) -> None:
        """Note what is due, and only then remove other copies; nothing is lost where the disk does not take it."""
        if self._due is None:
            return
        aliases, plan, kept = self._due
        try:
            self._cache.remember(dict(aliases), traffic=plan.to_dict(), at=utc_now())
            self._cache.prune(kept)
        except OSError as error:
            if not self._failed:
                logger.error("%s: what is live cannot be noted: %s", self._model, reason_of(error))
            self._failed = True
            return
        self._due, self._failed = None, False


class KeptStop:
    """The stop that holds here until the ledger has it, or better: on disk before it takes effect, for a restart.

    Parameters
    ----------
    model : str
        Registered model name.
    cache : ServingCache
        Where it lies.

    Attributes
    ----------
    decision : TrafficDecision | None
        The stop; at first the one that a former process left. None where none holds.
    """

    def __init__(self, model: str, cache: ServingCache) -> None:
        self._model, self._cache = model, cache
        kept = cache.kept_stop()
        self.decision = None if kept is None else TrafficDecision.stop_from_payload(kept)
        self._over: TrafficDecision | None = None

    def note(self, stop: TrafficDecision) -> None:
        """Write a stop to disk; one that the disk does not take holds until this process ends."""
        try:
            self._cache.keep_stop(stop.to_payload())
        except OSError as error:
            logger.error("%s: the stop cannot be noted: %s", self._model, reason_of(error))

    def laid_on(self, state: TrafficState) -> TrafficState | None:
        """Return traffic with the stop laid on it; None where there is none, or nothing left for it to stop."""
        renewed = None if self.decision is None else renew_stop(self.decision, state)
        return None if renewed is None else renewed.state

    def let_go(self) -> None:
        """Hold the stop no more: the ledger has it, or better."""
        self._over, self.decision = self.decision or self._over, None

    def settle(self) -> None:
        """Remove the note of a stop that was let go, unless a start by the note of what was live would undo it."""
        if self._over is None:
            return
        last = self._cache.last_good()
        was_live = TrafficState(plan=TrafficPlan.from_dict(last["traffic"])) if last else None
        if was_live is None or renew_stop(self._over, was_live) is None:
            self._cache.forget_stop(self._over.to_payload())
            self._over = None


# Follow the aliases: look, load, prove, and only then let a version answer; what will not do is refused.


class AliasWatcher:
    """Keeps one model's picture true, in a thread of its own.

    Parameters
    ----------
    setup : Setup
        The model.
    served : ServedModel
        What is assigned to.
    metrics : Metrics
        Where versions are shown.
    alarm : Alarm
        Told of refused versions.
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
        self._taken = make_versions(setup, self._cache, metrics=metrics)
        self._noted = LastServed(setup.model, self._cache)
        self._traffic: TrafficState | None = None
        self._stop_kept = KeptStop(setup.model, self._cache)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"evergreen-follow-{setup.model}", daemon=True)

    @property
    def stopped(self) -> TrafficDecision | None:
        """The stop that holds here, written or not: at first what a former process left; None where none does."""
        return self._stop_kept.decision

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End; a version that is being loaded is let go."""
        self._stop.set()

    def look(self) -> None:
        """Look once: ask the registry and the ledger, serve what they want as far as it will do, and note it."""
        self._follow()
        self._noted.settle()
        self._stop_kept.settle()

    def _follow(self) -> None:
        aliases = self._ask_registry()
        if aliases is None:
            self._begin_from_cache()
            return
        champion = aliases.get(CHAMPION)
        self._served.no_champion = champion is None
        if champion is None:
            self._lost_champion(aliases)
            return
        self._served.aliases = aliases
        self._serve(champion, self._ask_traffic(champion))
        self._served.from_cache = False

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # the thread must not die: what is live goes on
                logger.error(
                    "%s: following failed: %s at %s", self._setup.model, reason_of(error), place_of(error)
                )
            self._stop.wait(self._served.config.serving.poll.amount)

    def _ask_registry(self) -> dict[str, int] | None:
        """Return the aliases; None when the registry does not answer."""
        served = self._served
        try:
            aliases = self._setup.stores.registry.aliases(self._setup.model)
        except Exception as error:  # a store that is away raises what it likes
            if served.away_since is None:
                served.away_since = utc_now()
                logger.warning("%s: the registry does not answer: %s", self._setup.model, reason_of(error))
            served.registry_trouble = f"does not answer: {public_reason(error)}"
            self._metrics.registry_up.labels(self._setup.model).set(0)
            return None
        if served.away_since is not None:
            logger.info("%s: the registry answers again", self._setup.model)
        served.registry_trouble = served.away_since = None
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
            found = traffic_in_force(ledger, model, champion=champion)
        except Exception as error:  # as above; whoever was in an arm stays there
            logger.warning("%s: the traffic cannot be read: %s", model, reason_of(error))
            if self._traffic is None:
                self._traffic = self._last_traffic(champion)
            return self._traffic
        with self._lock:
            held = self._stop_kept.laid_on(found)
            if held is None:
                self._stop_kept.let_go()
            found = held or found
            if found != self._traffic:
                self._traffic = found
        return self._traffic

    def _last_traffic(self, champion: int) -> TrafficState:
        """Return the traffic that was served last on this machine with a champion; with another one it is plain."""
        last = self._cache.last_good()
        if last is not None and last["aliases"][CHAMPION] == champion:
            return self._as_it_was(last)
        return TrafficState(plan=plain_plan(salt=f"{self._setup.model}/{TRAFFIC}/0"))

    def _as_it_was(self, last: dict[str, Any]) -> TrafficState:
        """Return the traffic of a note of what was live, with what was stopped since."""
        found = TrafficState(plan=TrafficPlan.from_dict(last["traffic"]))
        return self._stop_kept.laid_on(found) or found

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
            logger.warning(
                "%s: serving version %d from the copy on disk, as it was at %s",
                self._setup.model,
                self._served.live.champion.number,
                last["at"],
            )

    def _lost_champion(self, aliases: dict[str, int]) -> None:
        """Go on with the champion there was: no alias is no order to stop answering."""
        self._served.aliases = aliases
        if self._served.live is not None:
            self._alarm.tell("The alias @champion is gone; the last champion goes on serving", version=None)

    def _serve(self, champion: int, traffic: TrafficState) -> None:
        """Make what is wanted live, as far as it will do; in one assignment."""
        wanted = self._taken.take(champion, CHAMPION)
        before = self._served.live
        first = wanted or (before.champion if before else self._last_champion(champion))
        if first is None:
            self._tell_refusals({champion})
            return
        arms = self._taken.arms(traffic.plan, first)
        self._tell_refusals({champion, *traffic.plan.versions})
        if (
            before is None
            or before.champion is not first
            or before.traffic is not traffic
            or _differ(before, arms)
        ):
            live = Live(champion=first, traffic=traffic, arms=arms)
            with self._lock:  # what was stopped in the meantime stays stopped
                if traffic is not self._traffic:
                    return
                self._served.live = live
            self._went_live(live, complete=wanted is not None)

    def stop_challengers(self, stop: TrafficDecision) -> None:
        """Let the champion answer everything at once, whatever the ledger says until it has the stop, or better.

        It is on disk before it takes effect: whoever ends this process, the next one holds it.
        """
        self._stop_kept.note(stop)
        state = stop.state
        with self._lock:
            live = self._served.live
            self._stop_kept.decision, self._traffic = stop, state
            if live is not None:
                arms = {one.name: live.arms[one.name] for one in state.plan.variants if one.name in live.arms}
                self._served.live = Live(champion=live.champion, traffic=state, arms=arms)

    def _last_champion(self, refused: int) -> ServedVersion | None:
        """Return the champion that was served last on this machine, where the one that is wanted was refused."""
        last = self._cache.last_good()
        number = last["aliases"][CHAMPION] if last else refused
        return self._taken.take(number, CHAMPION) if number != refused else None

    def _tell_refusals(self, wanted: set[int]) -> None:
        """Keep the refusals of what is wanted; open or close the alarm."""
        self._served.refused = self._taken.refusals(wanted)
        live = self._served.live
        serving = f"version {live.champion.number} goes on serving" if live else "nothing is served"
        said = "; ".join(
            f"version {one.version} was refused as {one.role}: {one.detail}" for one in self._served.refused
        )
        self._alarm.tell(
            f"{said}; {serving}" if said else None, version=live.champion.number if live else None
        )

    def _went_live(self, live: Live, *, complete: bool) -> None:
        logger.info("%s: live: %s", self._setup.model, ", ".join(f"{k}={v}" for k, v in live.numbers.items()))
        self._metrics.show_versions(self._setup.model, live.numbers)
        needed = set(live.numbers.values())
        kept = self._taken.keep(needed)
        if complete:
            self._noted.went_live(self._served.aliases, live.plan, kept=kept)


def _differ(before: Live, arms: dict[str, ServedArm]) -> bool:
    def members(of: Any) -> dict[str, tuple[int, ...]]:
        return {name: tuple(version.number for version, _ in arm.members) for name, arm in of.items()}

    return members(before.arms) != members(arms)
