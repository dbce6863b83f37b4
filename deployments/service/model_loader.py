"""An attempt to make a version ready: in a thread of its own, which is given up when it takes too long."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evergreen.deployments.service.live import RefusedVersion, ServedArm, ServedVersion
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.tasks.core.errors import EvergreenError, Unreachable
from evergreen.tasks.core.redact import without_credentials, without_places
from evergreen.tasks.core.serving.compile import compile_model
from evergreen.tasks.core.serving.signature import Signature
from evergreen.tasks.core.serving.smoke import SmokeFailed, smoke_rows, smoke_test_version
from evergreen.tasks.core.traffic.plan import TrafficPlan
from evergreen.tasks.core.traffic.variant import Role, Variant, agreed_classes
from evergreen.tasks.io.serving_cache import ServingCache
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup


class LoadTimeout(EvergreenError):
    """A version that did not load and answer in time."""

    code = "took_too_long"


class LoadAttempt:
    """Makes a version ready, beside whoever waits for it.

    Parameters
    ----------
    make : callable
        Returns the version, or raises.
    name : str
        The thread's.
    """

    def __init__(self, make: Callable[[], ServedVersion], *, name: str) -> None:
        self._make = make
        self._made: ServedVersion | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def result(self, *, within_s: float) -> ServedVersion:
        """Return the version.

        Raises
        ------
        TookTooLong
            When it is not ready within so many seconds; the thread may go on for ever: none can be ended from outside.
        Exception
            Whatever making it raised.
        """
        self._thread.join(within_s)
        if self._error is not None:
            raise self._error
        if self._made is None:
            raise LoadTimeout(
                f"It did not load and answer its own example within {within_s:g} s. Look at what it does when it is "
                "loaded or asked; it is tried again when that has ended, or by a new start of the service."
            )
        return self._made

    def _run(self) -> None:
        try:
            self._made = self._make()
        except SystemExit as error:
            self._error = RuntimeError(f"its code would end the process ({error})")
        except Exception as error:  # of the author's files and code; told to whoever waits
            self._error = error


# Take a version: fetch it, load it, compile it, and look at its answers before anybody else does.


def load_version(
    setup: Setup, cache: ServingCache, number: int, facts: dict[str, Any] | None = None
) -> ServedVersion:
    """Return a version that is ready to answer.

    Parameters
    ----------
    setup : Setup
        The model.
    cache : ServingCache
        Where it is loaded from.
    number : int
        The version.
    facts : dict, optional
        What the cache's ``fetch`` returned; it is fetched unless that is given.

    Raises
    ------
    Exception
        Whatever its files or its code raise; `detail_of` and `public_reason` tell it.
    """
    loaded = cache.load(number, facts)
    example = read_example(cache.files(number))
    compiled = compile_model(loaded, config=setup.config, example=example)
    rows = smoke_rows(compiled.signature, _records(example))
    try:
        answers = smoke_test_version(compiled, rows)
    except EvergreenError:
        raise
    except Exception as error:  # a model's code raises what it likes
        raise SmokeFailed(f"It fails on {rows.n} rows of its own example.") from error
    return ServedVersion(
        number=number, model=compiled, threshold=loaded.threshold, classes=answers.classes, since=utc_now()
    )


def check_columns(served: Signature, wanted: Signature) -> None:
    """Check that a version can answer the requests that the champion's signature admits.

    Raises
    ------
    SmokeFailed
        When it needs columns, or kinds of them, that requests do not bring.
    """
    known = {column.name: column for column in served.columns}
    lacking = [column.name for column in wanted.columns if column.name not in known]
    if lacking:
        raise SmokeFailed(
            f"It needs {', '.join(lacking[:5])}, which requests for the champion do not bring. Promote it by the "
            "offline path, or train it on the champion's columns."
        )
    other = [
        one.name for one in wanted.columns if (known[one.name].kind == "number") != (one.kind == "number")
    ]
    if other:
        raise SmokeFailed(f"It takes another kind of value in {', '.join(other[:5])} than the champion.")


def read_example(files: Path) -> pd.DataFrame | None:
    """Return a model's input example; None where it has none that is a data frame."""
    from mlflow.models import Model

    example: Any = Model.load(str(files)).load_input_example(str(files))
    return example if isinstance(example, pd.DataFrame) else None


def reason_of(error: BaseException) -> str:
    """Return what went wrong in a sentence, without credentials; of other people's errors only the kind and a line."""
    said = str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"
    return " ".join(without_credentials(said).split())[:300].rstrip(".")


def detail_of(error: BaseException) -> str:
    """Return why a version was refused, for who operates the service: with what a model's code or a driver said of it.

    Requests take no part in a refusal: what is said is said of the version's files, and of rows of its own example.
    """
    foreign, said = _foreign_cause(error), reason_of(error)
    words = "" if foreign is None else reason_of(foreign)
    return said if not words or " ".join(str(foreign).split())[:40] in said else f"{said} ({words})"


def public_reason(error: BaseException, *, when: str = "") -> str:
    """Return what anybody who asks may know of it: our own sentence without addresses and paths, else the kind alone.

    A sentence of ours about an error of a driver, a file system or a model's own code may repeat its words; those go
    to the service's log. ``when`` says what was being done.
    """
    foreign = _foreign_cause(error)
    if foreign is None and not isinstance(error, Unreachable):
        return without_places(reason_of(error))
    return (
        f"{type(foreign or error).__name__}{when and f' when {when}'}, of which the service's log says more"
    )


def _foreign_cause(error: BaseException) -> BaseException | None:
    """Return the first error that is not ours among an error and those it was raised from."""
    found: BaseException | None = error
    while isinstance(found, EvergreenError):
        found = found.__cause__
    return found


def _records(example: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return rows as a client would send them."""
    if example is None:
        return []
    return [{str(name): _plain(value) for name, value in row.items()} for row in example.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


# Versions that were taken and may answer, and those that were refused, of one model.


logger = logging.getLogger(__name__)

_FORMER = 2
"""Versions kept in memory, and on disk, after they have answered last."""
_LONGEST_S = 300.0
"""A refused version is tried again at the latest after this: what is wrong may be this machine.

What could not be fetched is tried again as after a first refusal: the registry is wrong, not the version.
"""
_FETCHED = "it was fetched"
LoadVersion = Callable[[Setup, ServingCache, int, dict[str, Any]], ServedVersion]


class VersionCache:
    """Takes each version once, and remembers what came of it; for one thread.

    Parameters
    ----------
    setup : Setup
        The model.
    cache : ServingCache
        Where versions are loaded from.
    metrics : Metrics
        Counts refusals.
    load : callable
        Returns a version that has answered its own example; ``load_version``.
    limit_s : float
        Seconds after which a version that is still loaded, compiled or asked is refused; fetching is not counted.
    again_s : float
        Seconds until a refused version is tried again, and twice as many each time.
    now : callable
        Returns the time, aware of its zone.
    """

    def __init__(
        self,
        setup: Setup,
        cache: ServingCache,
        *,
        metrics: ServiceMetrics,
        load: LoadVersion = load_version,
        limit_s: float = 60.0,
        again_s: float = 10.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._setup, self._cache = setup, cache
        self._load, self._limit_s, self._again_s, self._now = load, limit_s, again_s, now
        self._refusals = metrics.refused.labels(setup.model)
        self._loaded: dict[int, ServedVersion] = {}
        self._refused: dict[int, RefusedVersion] = {}
        self._running: dict[int, LoadAttempt] = {}

    def take(self, number: int, role: str) -> ServedVersion | None:
        """Return a version that may answer; None when it is refused."""
        if number in self._loaded:
            return self._loaded[number]
        former = self._refused.get(number)
        if former is not None and (self._now() - former.at).total_seconds() < _pause_s(
            former.times, self._again_s
        ):
            return None
        when = _FETCHED
        try:
            facts = self._cache.fetch(number)
            when = "it was loaded"
            version = self._attempt(number, facts)
        except Exception as error:  # files, code and answers are the author's; none may stop the service
            asked = "it was asked for its own example"
            self._refuse(number, role, error, when=asked if isinstance(error, SmokeFailed) else when)
            return None
        self._loaded[number] = version
        self._refused.pop(number, None)
        form = version.model.form
        logger.info("%s: version %d loaded (%s) for '%s'", self._setup.model, number, form, role)
        return version

    def arms(self, plan: TrafficPlan, champion: ServedVersion) -> dict[str, ServedArm]:
        """Return the arms that can answer, the champion's among them."""
        first = ServedArm(variant=plan.champion, members=((champion, 1.0),), threshold=champion.threshold)
        made = {one.name: self._arm(one, champion) for one in plan.variants[1:]}
        return {Role.CHAMPION.value: first, **{name: arm for name, arm in made.items() if arm is not None}}

    def refusals(self, wanted: Collection[int]) -> tuple[RefusedVersion, ...]:
        """Return the refusals of versions that are wanted; others are forgotten."""
        self._refused = {number: one for number, one in self._refused.items() if number in wanted}
        return tuple(self._refused.values())

    def keep(self, needed: Collection[int]) -> frozenset[int]:
        """Let go of versions that do not answer any more, but for the newest ones: a way back is taken at once.

        Returns
        -------
        frozenset of int
            Those that are kept, and those that are being made ready by an attempt that was given up.
        """
        former = [number for number in self._loaded if number not in needed]
        for number in former[:-_FORMER]:
            del self._loaded[number]
        for number in needed:  # whoever answers now is the last to be let go
            self._loaded[number] = self._loaded.pop(number)
        return frozenset({*self._loaded, *self._running})

    def _attempt(self, number: int, facts: dict[str, Any]) -> ServedVersion:
        """Return a version that is ready; where a former attempt was given up, ask what came of it alone."""
        former = self._running.pop(number, None)
        attempt = former or LoadAttempt(
            lambda: self._load(self._setup, self._cache, number, facts),
            name=f"evergreen-take-{self._setup.model}-{number}",
        )
        try:
            return attempt.result(within_s=0.0 if former else self._limit_s)
        except LoadTimeout:
            self._running[number] = attempt
            raise

    def _arm(self, variant: Variant, champion: ServedVersion) -> ServedArm | None:
        """Return the arm of a variant; None when one of its versions will not do, so that the champion answers."""
        taken = [(self.take(version, variant.name), weight) for version, weight in variant.members]
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
        for version, _ in members:
            self._refused.pop(version.number, None)
        return ServedArm(variant=variant, members=members, threshold=champion.threshold)

    def _refuse(self, number: int, role: str, error: Exception, *, when: str = "it was compared") -> None:
        detail, former = detail_of(error), self._refused.get(number)
        if former is None:
            logger.error("%s: version %d is refused for '%s': %s", self._setup.model, number, role, detail)
            self._refusals.inc()
        self._refused[number] = RefusedVersion(
            version=number,
            role=role,
            why=public_reason(error, when=when),
            detail=detail,
            at=self._now(),
            times=1 if former is None else former.times + (when != _FETCHED),
        )


def _pause_s(times: int, again_s: float) -> float:
    """Return the seconds until a version that was refused so often is tried again.

    >>> [_pause_s(times, 10.0) for times in (1, 2, 3, 6, 1000)]
    [10.0, 20.0, 40.0, 300.0, 300.0]
    """
    return min(again_s * 2.0 ** min(times - 1, 10), _LONGEST_S)
