"""Triggers of retraining: each registered once, with its key, what asks, how large it is, and its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from evergreen.tasks.core.config.explain import option_arguments
from evergreen.tasks.core.config.units import Section
from evergreen.tasks.core.drift.types import DriftKind
from evergreen.tasks.core.registry import TRIGGERS, require_type
from evergreen.tasks.core.retraining.history import RetrainHistory
from evergreen.tasks.core.retraining.types import Cause, Moment, RetrainingRequest, RetrainPolicy
from evergreen.tasks.core.serial import Struct

# What is due by the calendar or by the count of labels, whatever monitoring says.


@dataclass(frozen=True, kw_only=True)
class DueTrigger(Struct):
    """A trigger by the calendar or by the count of labels: whether it asks for a retraining now, or when it will."""

    trigger: str
    """``periodic`` or ``labels``."""
    due: bool
    """Whether it asks now."""
    message: str = field(metadata={"key": "said"})
    """Why, or what is missing."""
    due_at: datetime | None = None
    """When it will be due; None where rows decide."""
    size: float | None = None
    limit: float | None = None
    """Labelled rows (or days) since the last training, and how many of them make the trigger due."""

    def cause(self) -> Cause:
        """Return it as a cause."""
        return Cause(trigger=self.trigger, message=self.message, size=self.size, limit=self.limit)


@dataclass(frozen=True, kw_only=True)
class TriggerContext:
    """What a trigger decides by."""

    name: str
    """What it is called in the configuration."""
    now: Moment
    """On the calendar, and how far the rows have come."""
    history: RetrainHistory
    """Earlier attempts: ``history.last`` is the newest, None before the first."""
    request: RetrainingRequest
    """Labels there are to train on, and since when the champion serves."""
    policy: RetrainPolicy
    """The model's rules."""

    @property
    def new_rows(self) -> int:
        """Rows labelled since the last retraining (before the first: since the champion's training)."""
        last, request = self.history.last, self.request
        return request.labels.after(last.labelled_to if last else request.champion_trained_up_to)

    def answer(
        self,
        due: bool,
        why: str,
        *,
        due_at: datetime | None = None,
        size: float | None = None,
        limit: float | None = None,
    ) -> DueTrigger:
        """Return whether it asks now: why or what is missing, when it will, and its size and limit in one unit.

        A date that is past and does not ask is left out: nobody can wait for it.
        """
        if due_at is not None and not due and due_at <= self.now.at:
            due_at = None
        return DueTrigger(trigger=self.name, due=due, message=why, due_at=due_at, size=size, limit=limit)


@dataclass(frozen=True, kw_only=True)
class RetrainTrigger:
    """Something that may ask for a retraining."""

    name: str
    """What ``retraining.triggers`` calls it."""
    function: Callable[..., DueTrigger] | None = None
    """``function(context)``, with a section ``function(context, options)``, answers with
    `TriggerContext.answer`; None for alarms of monitoring, which ask when they are as large as their limit
    (`ModelConfig.retraining_limits`)."""
    section: type[Section] | None = None
    """Type of the options that stand beside its name."""

    def __call__(self, context: TriggerContext, options: Mapping[str, Any]) -> DueTrigger | None:
        """Return whether it asks now; None where an alarm does the asking.

        Raises
        ------
        ConfigError
            When its options are wrong, or it answers with anything but a `DueTrigger`.
        """
        settings = option_arguments(self.section, options, where=f"retraining.triggers: {self.name}")
        if self.function is None:
            return None
        return require_type(
            self.function(context, *settings),
            DueTrigger,
            what=f"The trigger '{self.name}' returned",
            allowed="what context.answer makes. Correct the function, or remove it from retraining.triggers.",
        )


@TRIGGERS.reader
def _as_trigger(name: str, thing: Any) -> RetrainTrigger:
    own = isinstance(thing, RetrainTrigger)
    return replace(thing, name=name) if own else RetrainTrigger(name=name, function=thing)


def trigger(
    name: str, *, section: type[Section] | None = None
) -> Callable[[Callable[..., DueTrigger]], RetrainTrigger]:
    """Decorate a function to be a trigger; see `RetrainTrigger`."""

    def decorate(function: Callable[..., DueTrigger]) -> RetrainTrigger:
        made = RetrainTrigger(name=name, function=function, section=section)
        own: RetrainTrigger = TRIGGERS.register(name, origin=function)(made)
        return own

    return decorate


def due_triggers(
    now: Moment, history: RetrainHistory, request: RetrainingRequest, policy: RetrainPolicy
) -> tuple[DueTrigger, ...]:
    """Return the triggers of a policy that no alarm pulls, due or not: calendar, labels, a team's own."""
    own = [name for name in TRIGGERS.built_in() if name in policy.triggers]
    answers = []
    for name in (*own, *sorted(policy.triggers.difference(own))):
        context = TriggerContext(name=name, now=now, history=history, request=request, policy=policy)
        answers.append(TRIGGERS.get(name)(context, policy.options.get(name, {})))
    return tuple(one for one in answers if one is not None)


for _kind in DriftKind:
    TRIGGERS.register(_kind.value)(RetrainTrigger(name=_kind.value))


@trigger("periodic")
def _periodic(context: TriggerContext) -> DueTrigger:
    """Ask ``retraining.every`` after the last retraining, by the calendar or by labelled rows."""
    rows, every = context.new_rows, context.policy.every
    if every.unit != "rows":
        return _by_time(context)
    why = f"{rows} rows were labelled since the last retraining, and one is due every {every}."
    return context.answer(rows >= int(every.amount), why, size=float(rows), limit=float(int(every.amount)))


@trigger("labels")
def _labels(context: TriggerContext) -> DueTrigger:
    """Ask when ``retraining.min_new_rows`` were labelled since the last retraining."""
    rows, wanted = context.new_rows, int(context.policy.min_new_rows or 0)
    why = f"{rows} rows were labelled since the last retraining; {wanted} make one due."
    return context.answer(rows >= wanted, why, size=float(rows), limit=float(wanted))


def _by_time(context: TriggerContext) -> DueTrigger:
    now, every, last = context.now, context.policy.every, context.history.last
    since = last.at if last else context.request.champion_since
    if since is None:
        return context.answer(True, "There is no champion yet.", due_at=now.at)
    due_at, word = since + timedelta(seconds=every.amount), "retraining" if last else "promotion"
    return context.answer(
        now.at >= due_at,
        f"The last {word} was on {since:%Y-%m-%d %H:%M} UTC, and one is due every {every}.",
        due_at=due_at,
        size=round((now.at - since).total_seconds() / 86400, 2),
        limit=round(every.amount / 86400, 2),
    )
