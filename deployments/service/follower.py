"""Follow the aliases: look, load, prove, and only then let a version answer; what will not do is refused."""

from __future__ import annotations

import logging
import threading
from typing import Any

from deployments.service.alarm import Alarm
from deployments.service.live import Arm, Live, ServedModel, ServedVersion
from deployments.service.loading import public_reason, reason_of
from deployments.service.metrics import Metrics
from deployments.service.noted import KeptStop, Noted
from deployments.service.taken import Taken
from deployments.service.trouble import place_of
from tasks.core.reign.plan import CHAMPION
from tasks.core.traffic.decide import TrafficDecision
from tasks.core.traffic.plan import TrafficPlan, plain_plan
from tasks.core.traffic.state import TRAFFIC, TrafficState
from tasks.io.clock import utc_now
from tasks.io.serving_cache import ServingCache
from tasks.io.setup import Setup
from tasks.traffic import settle, traffic_in_force

logger = logging.getLogger(__name__)


class Follower:
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
    """

    def __init__(
        self,
        setup: Setup,
        served: ServedModel,
        *,
        metrics: Metrics,
        alarm: Alarm,
    ) -> None:
        self._setup, self._served, self._metrics = setup, served, metrics
        self._alarm = alarm
        self._cache = ServingCache(setup)
        self._taken = Taken(setup, self._cache, metrics=metrics)
        self._noted = Noted(setup.model, self._cache)
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
                self._setup.model, self._served.live.champion.number, last["at"],
            )  # fmt: skip

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


def _differ(before: Live, arms: dict[str, Arm]) -> bool:
    def members(of: Any) -> dict[str, tuple[int, ...]]:
        return {name: tuple(version.number for version, _ in arm.members) for name, arm in of.items()}

    return members(before.arms) != members(arms)
