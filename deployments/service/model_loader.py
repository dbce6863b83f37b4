"""Make versions ready to answer: fetch, load, compile, smoke-test; refused ones are tried again later."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
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

logger = logging.getLogger(__name__)


class LoadTimeout(EvergreenError):
    """A version that did not load and answer in time."""

    code = "took_too_long"


def start_attempt(make: Callable[[], ServedVersion], *, name: str) -> Future[ServedVersion]:
    """Make a version ready in a daemon thread; it may go on for ever, as no thread can be ended from outside."""
    attempt: Future[ServedVersion] = Future()

    def run() -> None:
        try:
            attempt.set_result(make())
        except SystemExit as error:
            attempt.set_exception(RuntimeError(f"its code would end the process ({error})"))
        except Exception as error:  # of the author's files and code; `result` raises it
            attempt.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return attempt


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
        Whatever its files or its code raise; `detail_of` and `public_reason` put it in words.
    """
    loaded = cache.load(number, facts)
    example = read_example(cache.files(number))
    compiled = compile_model(loaded, config=setup.config, example=example)
    rows = smoke_rows(compiled.signature, _records(example))
    try:
        answers = smoke_test_version(compiled, rows)
    except EvergreenError:
        raise
    except Exception as error:  # a model's code may raise anything
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
    served_columns = {column.name: column for column in served.columns}
    missing = [column.name for column in wanted.columns if column.name not in served_columns]
    if missing:
        raise SmokeFailed(
            f"It needs {', '.join(missing[:5])}, which requests for the champion do not have. Promote it by the "
            "offline path, or train it on the champion's columns."
        )
    numeric = {name: column.kind == "number" for name, column in served_columns.items()}
    differing = [one.name for one in wanted.columns if numeric[one.name] != (one.kind == "number")]
    if differing:
        names = ", ".join(differing[:5])
        raise SmokeFailed(
            f"It expects another kind of value than the champion in {names}. Train it on the champion's columns."
        )


def read_example(files: Path) -> pd.DataFrame | None:
    """Return a model's input example; None where it has none that is a data frame."""
    from mlflow.models import Model

    example: Any = Model.load(str(files)).load_input_example(str(files))
    return example if isinstance(example, pd.DataFrame) else None


def reason_of(error: BaseException) -> str:
    """Return what went wrong in a sentence, without credentials; of other people's errors only the kind and a line."""
    text = str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"
    return " ".join(without_credentials(text).split())[:300].rstrip(".")


def detail_of(error: BaseException) -> str:
    """Return why a version was refused, for operators: with the message of the model's code or of a driver.

    It holds nothing of a request: a version is refused for its files, and for rows of its own example.
    """
    foreign, reason = _foreign_cause(error), reason_of(error)
    cause = "" if foreign is None else reason_of(foreign)
    return reason if not cause or " ".join(str(foreign).split())[:40] in reason else f"{reason} ({cause})"


def public_reason(error: BaseException, *, when: str = "") -> str:
    """Return what clients may know of it: our own sentence without addresses and paths, else the kind of error alone.

    A sentence of ours about an error of a driver, a file system or a model's own code may repeat its message; that
    goes to the service's log. ``when`` says what was being done.
    """
    foreign = _foreign_cause(error)
    if foreign is None and not isinstance(error, Unreachable):
        return without_places(reason_of(error))
    return f"{type(foreign or error).__name__}{when and f' when {when}'}; see the service's log"


def _foreign_cause(error: BaseException) -> BaseException | None:
    """Return the first error that is not ours among an error and those it was raised from."""
    cause: BaseException | None = error
    while isinstance(cause, EvergreenError):
        cause = cause.__cause__
    return cause


def _records(example: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return rows as a client would send them."""
    if example is None:
        return []
    return [{str(name): _plain(value) for name, value in row.items()} for row in example.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


_FORMER = 2
"""Versions kept in memory, and on disk, after they are no longer live."""
_LONGEST_S = 300.0
"""A refused version is tried again at the latest after this: the cause may be this machine.

What could not be fetched is tried again as after a first refusal: the registry failed, not the version.
"""
_FETCHED = "it was fetched"
LoadVersion = Callable[[Setup, ServingCache, int, dict[str, Any]], ServedVersion]


class VersionCache:
    """The versions of one model that are loaded, and those that were refused; for one thread.

    Parameters
    ----------
    setup : Setup
        The model.
    cache : ServingCache
        Where versions are loaded from.
    metrics : ServiceMetrics
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
        self._running: dict[int, Future[ServedVersion]] = {}

    def get(self, number: int, role: str) -> ServedVersion | None:
        """Return a version that may answer, loaded at first use; None when it is refused."""
        if number in self._loaded:
            return self._loaded[number]
        former, now = self._refused.get(number), self._now()
        if former and (now - former.at).total_seconds() < _pause_s(former.times, self._again_s):
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
        """Drop versions that are not needed any more, but for the newest ones, so that a rollback takes effect at once.

        Returns
        -------
        frozenset of int
            Those that are kept, and those that an attempt which was given up is still loading.
        """
        former = [number for number in self._loaded if number not in needed]
        for number in former[:-_FORMER]:
            del self._loaded[number]
        for number in needed:  # what answers now is dropped last
            self._loaded[number] = self._loaded.pop(number)
        return frozenset({*self._loaded, *self._running})

    def _attempt(self, number: int, facts: dict[str, Any]) -> ServedVersion:
        """Return a version that is ready; where a former attempt was given up, only look whether it has ended since."""
        former = self._running.pop(number, None)
        attempt = former or start_attempt(
            lambda: self._load(self._setup, self._cache, number, facts),
            name=f"evergreen-take-{self._setup.model}-{number}",
        )
        limit_s = 0.0 if former else self._limit_s
        if wait([attempt], timeout=limit_s).not_done:
            self._running[number] = attempt
            raise LoadTimeout(
                f"It did not load and answer its own example within {limit_s:g} s. See what its code does when it is "
                "loaded or called; it is tried again when that has ended, or when the service starts again."
            )
        return attempt.result()

    def _arm(self, variant: Variant, champion: ServedVersion) -> ServedArm | None:
        """Return the arm of a variant; None when one of its versions is refused, so that the champion answers."""
        loaded = [(self.get(version, variant.name), weight) for version, weight in variant.members]
        members = tuple((version, weight) for version, weight in loaded if version is not None)
        if len(members) < len(loaded):
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
