"""Follow the aliases: look, load, prove, and only then let a version answer; what will not do is refused."""

from __future__ import annotations

import logging
import threading
from typing import Any

from deployments.service.alarm import Alarm
from deployments.service.live import Arm, Live, Refusal, ServedModel, ServedVersion
from deployments.service.loading import check_columns, reason_of, take_version
from deployments.service.metrics import Metrics
from deployments.service.wanted import wanted_traffic
from tasks.core.reign.plan import CHAMPION
from tasks.core.traffic.ensemble import agreed_classes
from tasks.core.traffic.plan import TrafficPlan
from tasks.core.traffic.variant import Variant
from tasks.io.clock import utc_now
from tasks.io.serving_cache import ServingCache
from tasks.io.setup import Setup

logger = logging.getLogger(__name__)

_AGAIN_S = 30.0
"""A refused version is tried again after this: what is wrong may be this machine."""


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
        self._loaded: dict[int, ServedVersion] = {}
        self._refused: dict[int, Refusal] = {}
        self._plan: TrafficPlan | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"evergreen-follow-{setup.model}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End; a version that is being loaded is let go."""
        self._stop.set()

    def look(self) -> None:
        """Look once: ask the registry and the ledger, and serve what they want as far as it will do."""
        aliases = self._ask_registry()
        if aliases is None:
            self._begin_from_cache()
            return
        champion = aliases.get(CHAMPION)
        if champion is None:
            self._lost_champion(aliases)
            return
        self._served.aliases = aliases
        self._serve(champion, self._ask_plan(champion))
        self._served.from_cache = False

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except (
                Exception
            ) as error:  # the thread must not die: what is live goes on, and the next look may succeed
                logger.exception("%s: following failed: %s", self._setup.model, reason_of(error))
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
            served.registry_trouble = reason_of(error)
            self._metrics.registry_up.labels(self._setup.model).set(0)
            return None
        if served.away_since is not None:
            logger.info("%s: the registry answers again", self._setup.model)
        served.registry_trouble = served.away_since = None
        self._metrics.registry_up.labels(self._setup.model).set(1)
        return aliases

    def _ask_plan(self, champion: int) -> TrafficPlan | None:
        """Return the plan that is wanted; the last one while the ledger does not answer."""
        try:
            self._plan = wanted_traffic(self._setup, champion).plan
        except Exception as error:  # as above; whoever was in an arm stays there
            logger.warning("%s: the traffic plan cannot be read: %s", self._setup.model, reason_of(error))
        return self._plan

    def _begin_from_cache(self) -> None:
        """Serve what was served last, from the copies on disk, when nothing is live yet."""
        last = self._cache.last_good() if self._served.live is None else None
        if last is None:
            return
        self._served.aliases = dict(last["aliases"])
        self._plan = TrafficPlan.from_dict(last["traffic"])
        self._serve(last["aliases"][CHAMPION], self._plan)
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

    def _serve(self, champion: int, plan: TrafficPlan | None) -> None:
        """Make what is wanted live, as far as it will do; in one assignment."""
        wanted = self._take(champion, CHAMPION)
        before = self._served.live
        first = wanted or (before.champion if before else self._last_champion(champion))
        if first is None or plan is None:
            self._tell_refusals({champion})
            return
        arms = {CHAMPION: Arm(variant=plan.champion, members=((first, 1.0),), threshold=first.threshold)}
        arms |= {one.name: arm for one in plan.variants[1:] if (arm := self._arm(one, first)) is not None}
        self._tell_refusals({champion, *plan.versions})
        if before is None or before.champion is not first or before.plan != plan or _changed(before, arms):
            live = Live(champion=first, plan=plan, arms=arms)
            self._served.live = live
            self._went_live(plan, live, complete=wanted is not None)

    def _last_champion(self, refused: int) -> ServedVersion | None:
        """Return the champion that was served last on this machine, where the one that is wanted was refused."""
        last = self._cache.last_good()
        number = last["aliases"][CHAMPION] if last else refused
        return self._take(number, CHAMPION) if number != refused else None

    def _arm(self, variant: Variant, champion: ServedVersion) -> Arm | None:
        """Return the arm of a variant; None when one of its versions will not do, so that the champion answers."""
        taken = [(self._take(version, variant.name), weight) for version, weight in variant.members]
        members = tuple((version, weight) for version, weight in taken if version is not None)
        if len(members) < len(taken):
            return None
        try:
            for version, _ in members:
                check_columns(champion.model.signature, version.model.signature)
            agreed_classes({one.number: one.classes for one, _ in members}, name=variant.name)
        except Exception as error:  # whatever is wrong with it, the champion answers in its place
            self._refuse(members[0][0].number, variant.name, error)
            return None
        return Arm(variant=variant, members=members, threshold=champion.threshold)

    def _take(self, number: int, role: str) -> ServedVersion | None:
        """Return a version that may answer, loaded at most once; None when it is refused."""
        if number in self._loaded:
            return self._loaded[number]
        former = self._refused.get(number)
        if former is not None and (utc_now() - former.at).total_seconds() < _AGAIN_S:
            return None
        try:
            version = take_version(self._setup, self._cache, number)
        except (
            Exception
        ) as error:  # files, code and answers of a version are its author's; none may stop the service
            self._refuse(number, role, error)
            return None
        self._loaded[number] = version
        self._refused.pop(number, None)
        logger.info(
            "%s: version %d loaded (%s) for '%s'", self._setup.model, number, version.model.form, role
        )
        return version

    def _refuse(self, number: int, role: str, error: Exception) -> None:
        why = reason_of(error)
        if number not in self._refused:
            logger.error("%s: version %d is refused for '%s': %s", self._setup.model, number, role, why)
            self._metrics.refused.labels(self._setup.model).inc()
        self._refused[number] = Refusal(version=number, role=role, why=why, at=utc_now())

    def _tell_refusals(self, wanted: set[int]) -> None:
        """Keep the refusals of what is wanted; open or close the alarm."""
        self._refused = {number: one for number, one in self._refused.items() if number in wanted}
        self._served.refused = tuple(self._refused.values())
        live = self._served.live
        serving = f"version {live.champion.number} goes on serving" if live else "nothing is served"
        said = "; ".join(
            f"version {one.version} was refused as {one.role}: {one.why}" for one in self._served.refused
        )
        self._alarm.tell(
            f"{said}; {serving}" if said else None, version=live.champion.number if live else None
        )

    def _went_live(self, plan: TrafficPlan, live: Live, *, complete: bool) -> None:
        logger.info("%s: live: %s", self._setup.model, ", ".join(f"{k}={v}" for k, v in live.numbers.items()))
        self._metrics.show_versions(self._setup.model, live.numbers)
        needed = set(live.numbers.values())
        self._loaded = {number: one for number, one in self._loaded.items() if number in needed}
        if complete:
            self._cache.remember(self._served.aliases, traffic=plan.to_dict(), at=utc_now())
            self._cache.prune(needed)


def _changed(before: Live, arms: dict[str, Arm]) -> bool:
    def members(of: Any) -> dict[str, tuple[int, ...]]:
        return {name: tuple(version.number for version, _ in arm.members) for name, arm in of.items()}

    return members(before.arms) != members(arms)
