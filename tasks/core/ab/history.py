"""Live tests in the ledger: created, begun, looked at, concluded or aborted; folded into their present state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from tasks.core.ab.conclusion import Conclusion
from tasks.core.ab.definition import LiveTest
from tasks.core.ab.look import Look
from tasks.core.ab.payload import live_test_payload, read_live_test
from tasks.core.errors import InputError, unknown_name
from tasks.core.reign.ledger import Entry
from tasks.core.watching.looked import json_ready

AB = "ab"
"""Stream of the live tests of a model."""
CREATED, BEGUN, LOOKED, CONCLUDED, ABORTED = "created", "begun", "looked", "concluded", "aborted"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Numbers of the newest entries of the streams ``traffic`` and ``plans`` when a test was created; 0: none."""

    traffic: int = 0
    plans: int = 0


@dataclass(frozen=True, kw_only=True)
class TestState:
    """A live test as the ledger knows it.

    Attributes
    ----------
    test : LiveTest
        Its definition; ``start`` is where it began, once it has.
    marks : Marks
        What had happened when it was created.
    entry : str
        Id of the entry that created it.
    created_at : datetime
        Aware.
    begun_at : datetime or None
        When its start was fixed, after its alpha was spent and the traffic shared; None before.
    looks : tuple of dict
        Each look's numbers (`Look.to_dict`) with ``at``, oldest first.
    ended_at : datetime or None
        None while it runs.
    ended : dict or None
        How it ended: ``action``, ``winner``, ``reasons``, and who ended it.
    """

    __test__ = False

    test: LiveTest
    entry: str
    created_at: datetime
    marks: Marks = Marks()
    begun_at: datetime | None = None
    looks: tuple[Mapping[str, Any], ...] = ()
    ended_at: datetime | None = None
    ended: Mapping[str, Any] | None = None

    @property
    def status(self) -> str:
        """``running``, or the action that ended it: ``promote``, ``keep``, ``expire``, ``abort``."""
        return "running" if self.ended is None else str(self.ended["action"])

    def trace(self, variant: str) -> list[dict[str, Any]]:
        """Return a variant's improvement at each look: ``at``, ``now``, ``n``, ``improvement``, ``low``, ``high``."""
        return [
            {"at": look["at"], "now": look["now"], "n": _units(one), **{name: one[name] for name in _TRACED}}
            for look in self.looks
            for one in look["challengers"]
            if one["variant"] == variant
        ]


_TRACED = ("improvement", "low", "high", "verdict")


def _units(one: Mapping[str, Any]) -> int:
    return int(one["n_control"] if one["paired"] else one["n_control"] + one["n_challenger"])


def fold_tests(entries: Iterable[Entry]) -> tuple[TestState, ...]:
    """Return a model's live tests in order of their creation; entries of other streams are passed over."""
    found: dict[str, TestState] = {}
    for entry in entries:
        if entry.stream != AB:
            continue
        if entry.kind == CREATED:
            test = read_live_test(entry.payload["definition"])
            marks = Marks(**entry.payload["marks"])
            found[test.name] = TestState(test=test, entry=entry.id, created_at=entry.at, marks=marks)
            continue
        state = found[entry.payload["test"]]
        if entry.kind == BEGUN:
            begun = replace(state.test, start=entry.payload["start"])
            found[state.test.name] = replace(state, test=begun, begun_at=entry.at)
        elif entry.kind == LOOKED:
            seen = {**entry.payload["look"], "at": entry.at.isoformat()}
            found[state.test.name] = replace(state, looks=(*state.looks, seen))
        elif state.ended is None:
            found[state.test.name] = replace(state, ended_at=entry.at, ended=entry.payload)
    return tuple(found.values())


def running_test(states: Sequence[TestState]) -> TestState | None:
    """Return the test that runs; there is at most one a model."""
    running = [state for state in states if state.ended is None]
    return running[-1] if running else None


def describe_running(states: Sequence[TestState]) -> dict[str, Any] | None:
    """Return what a model's status tells of the test that runs, as of its newest look; None where none does."""
    state = running_test(states)
    if state is None:
        return None
    newest = state.looks[-1] if state.looks else None
    seen = {one["variant"]: one for one in newest["challengers"]} if newest else {}
    challengers = [
        {
            "variant": arm.name,
            "version": arm.version,
            **{key: seen.get(arm.name, {}).get(key) for key in _TRACED},
        }
        for arm in state.test.challengers
    ]
    return {
        "test": state.test.name, "metric": state.test.metric, "mode": state.test.mode,
        "since": state.created_at.isoformat(), "begun": state.begun_at is not None, "looks": len(state.looks),
        "last_look": newest["at"] if newest else None, "challengers": challengers,
    }  # fmt: skip


def find_test(states: Sequence[TestState], name: str | None) -> TestState:
    """Return a test by name; without one the test that runs, else the newest.

    Raises
    ------
    UnknownName
        When no test has the name.
    InputError
        When there is no test at all.
    """
    if not states:
        raise InputError("No live test was ever created for this model. Begin with 'evergreen ab create'.")
    if name is None:
        return running_test(states) or states[-1]
    known = {state.test.name: state for state in states}
    if name not in known:
        raise unknown_name("live test", name, known)
    return known[name]


def create_payload(entries: Iterable[Entry], test: LiveTest, marks: Marks = Marks()) -> dict[str, Any]:
    """Return what the entry of a new test holds: its definition, and what had happened before.

    Raises
    ------
    InputError
        When another test of the model runs, or the name was used before.
    """
    states = fold_tests(entries)
    running = running_test(states)
    if running is not None:
        raise InputError(
            f"Live test '{running.test.name}' of this model is running. Conclude or abort it before '{test.name}'."
        )
    if test.name in {state.test.name for state in states}:
        raise InputError(
            f"A live test '{test.name}' was there before. Choose a new name: results are kept by it."
        )
    return {"test": test.name, "definition": live_test_payload(test), "marks": asdict(marks)}


def begin_payload(entries: Iterable[Entry], name: str, start: float) -> dict[str, Any] | None:
    """Return what the entry holds that fixes a test's start; None where it has one, or does not run."""
    state = running_test(fold_tests(entries))
    if state is None or state.test.name != name or state.begun_at is not None:
        return None
    return {"test": name, "start": start}


def look_payload(test: LiveTest, look: Look) -> dict[str, Any]:
    """Return what the entry of a look holds."""
    return json_ready({"test": test.name, "look": look.to_dict()})


def end_payload(test: LiveTest, conclusion: Conclusion, *, by: str) -> dict[str, Any]:
    """Return what the entry of an end holds; ``by`` says who or what ended it."""
    return json_ready({"test": test.name, "by": by, **conclusion.to_dict()})
