"""What a live test is judged on: its rows from the log, and what was known of the champion before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.challenge import load_ground
from tasks.core.ab.definition import PAIRED, LiveTest
from tasks.core.ab.evidence import Evidence
from tasks.core.ab.frame import join_rows, read_answers
from tasks.core.ab.gather import gather
from tasks.core.ab.look import Look, look_at
from tasks.core.ab.maturity import Maturity, measure_maturity
from tasks.core.ab.metric import is_hits, span_of
from tasks.core.ab.observations import Answered, observe
from tasks.core.ab.planning import CHAMPION_ARM, guard_metrics, metric_of_test
from tasks.core.ab.slicing import cut_slices
from tasks.core.challenge.opponents import Opponents
from tasks.core.data.clock import Window
from tasks.core.data.rows import Rows
from tasks.core.errors import NotLearnable
from tasks.core.learning.recipe import Recipe
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import FloatArray, Scored
from tasks.io.clock import utc_now
from tasks.io.log_records import VERSION
from tasks.io.metric_paths import custom_metrics
from tasks.io.models import load_model, read_documents
from tasks.io.setup import Setup

_COHORTS = 30.0
_AGES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A look, and how complete its labels are."""

    look: Look
    maturity: Maturity


def look_now(setup: Setup, test: LiveTest) -> Seen:
    """Read a test's rows from the log and judge them as of now; nothing is written."""
    now = now_on_clock(setup, [arm.name for arm in test.arms])
    metric, rails = _metric(setup, test.metric), {rail.metric: rail for rail in test.guardrails}
    known = guard_metrics(setup.config, custom=custom_metrics(setup.config))
    guards = {name: found for name, found in known.items() if name in rails}
    evidence, by_guard = Evidence(), dict.fromkeys(guards, Evidence())
    maturity = _maturity(test, np.zeros(0), np.zeros(0), now=now)
    for answered in _read(setup, test, now=now):
        evidence += gather(observe(answered, metric), test, now=now, clip=test.clip)
        for name, found in guards.items():
            by_guard[name] += gather(observe(answered, found), test, now=now, clip=rails[name].clip)
        control = answered.take(answered.variants == test.control.name)
        maturity += _maturity(test, control.positions, control.known_at, now=now)
    look = look_at(
        test, evidence, now=now, hits=is_hits(metric), span=span_of(metric, test.clip), guards=by_guard
    )
    return Seen(look=look, maturity=maturity)


def past_of_champion(setup: Setup, opponents: Opponents) -> Scored | None:
    """Return the champion's answers to the rows that neither side learned from; None where nothing can be read."""
    if opponents.champion is None:
        return None
    try:
        parts = load_ground.fn(setup, opponents)
    except NotLearnable:
        return None
    return load_model(setup, opponents.champion).score(parts.evaluation, config=setup.config)


def now_on_clock(setup: Setup, answering: Sequence[str] = (CHAMPION_ARM,)) -> float:
    """Return the present on the model's clock.

    Where it does not tell the time: as far as the newest prediction of the variants that answer. Batches are scored
    of any rows, and move nobody's present.
    """
    if setup.config.data.clock == "timestamp":
        return utc_now().timestamp()
    newest = setup.stores.log.newest_position(setup.model, variants=answering)
    return 0.0 if newest is None else newest


def _read(setup: Setup, test: LiveTest, *, now: float) -> Iterator[Answered]:
    """Yield the rows of a test slice by slice, at least one; races may lie across slices, and are read at once."""
    window = Window(test.start, math.nextafter(max(min(test.end, now), test.start), math.inf))
    info = setup.stores.registry.version(setup.model, int(test.control.version or 0))
    recipe = Recipe.from_dict(read_documents(setup, info, ("recipe",))["recipe"])
    whole = setup.config.problem == "ranking"
    slices = (
        [window] if whole else cut_slices(setup.stores.log.positions(setup.model, since=test.start), window)
    )
    for one in slices:
        rows = _read_slice(setup, test, one, now=now)
        yield read_answers(rows, config=setup.config, classes=recipe.classes)


def _read_slice(setup: Setup, test: LiveTest, window: Window, *, now: float) -> Rows:
    """Read the control's rows, and the challengers' own or (paired) what they said of the control's.

    An arm is a version under a name: what another version answered under the name is left out.
    """
    log, config = setup.stores.log, setup.config
    parts: list[Rows] = []
    for arm in test.arms:
        shadow = test.mode == PAIRED and arm is not test.control
        read = log.read_shadows if shadow else log.read_predictions
        rows = read(setup.model, window, variant=arm.name, known_by=now, target=config.data.target).rows
        parts.append(
            rows if arm.version is None else rows.take((rows.frame[VERSION] == arm.version).to_numpy())
        )
    return join_rows(parts)


def _metric(setup: Setup, name: str) -> Metric:
    live = setup.config.live.model_copy(update={"metric": name})
    config = setup.config.model_copy(update={"live": live})
    return metric_of_test(config, custom=custom_metrics(setup.config))


def _maturity(test: LiveTest, positions: FloatArray, known_at: FloatArray, *, now: float) -> Maturity:
    """Return labels by cohort (a thirtieth of the longest duration) and age, of the control's rows."""
    length = test.longest / _COHORTS
    reach = test.follow_up or test.longest / 3
    ages = [reach * (step + 1) / _AGES for step in range(_AGES)]
    return measure_maturity(positions, known_at, now=now, length=length, ages=ages)
