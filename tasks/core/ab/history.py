"""Live tests in the ledger: created, looked at, concluded or aborted; folded into their present state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tasks.core.ab.conclusion import Conclusion
from tasks.core.ab.definition import LiveTest
from tasks.core.ab.look import Look
from tasks.core.ab.payload import live_test_payload, read_live_test
from tasks.core.challenge.alpha import AlphaLook
from tasks.core.challenge.spending import alpha_look
from tasks.core.errors import InputError, unknown_name
from tasks.core.reign.ledger import Entry
from tasks.core.watching.looked import json_ready

AB = "ab"
"""Stream of the live tests of a model."""
CREATED, LOOKED, CONCLUDED, ABORTED = "created", "looked", "concluded", "aborted"


@dataclass(frozen=True, kw_only=True)
class TestState:
    """A live test as the ledger knows it.

    Attributes
    ----------
    test : LiveTest
        Its definition.
    entry : str
        Id of the entry that created it.
    created_at : datetime
        Aware.
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
            found[test.name] = TestState(test=test, entry=entry.id, created_at=entry.at)
            continue
        state = found[entry.payload["test"]]
        if entry.kind == LOOKED:
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
        "since": state.created_at.isoformat(), "looks": len(state.looks),
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


def create_payload(entries: Iterable[Entry], test: LiveTest) -> dict[str, Any]:
    """Return what the entry of a new test holds.

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
    return {"test": test.name, "definition": live_test_payload(test)}


def look_payload(test: LiveTest, look: Look) -> dict[str, Any]:
    """Return what the entry of a look holds."""
    return json_ready({"test": test.name, "look": look.to_dict()})


def end_payload(test: LiveTest, conclusion: Conclusion, *, by: str) -> dict[str, Any]:
    """Return what the entry of an end holds; ``by`` says who or what ended it."""
    return json_ready({"test": test.name, "by": by, **conclusion.to_dict()})


def live_alpha(
    entries: Iterable[Entry], *, now: datetime, level: float, wanted: float | None = None
) -> AlphaLook:
    """Return what a live test may spend of the model's budget of wrong promotions.

    A whole test, with all its looks, spends like one look of a challenge: a quarter of what is left, or what is
    wanted, since its sequence allows for looking at any time.

    Parameters
    ----------
    entries : iterable of Entry
        Of the stream ``alpha``.
    level : float
        ``evaluation.significance_level``.
    wanted : float, optional
        Alpha that a person asks for.

    Raises
    ------
    InputError
        When more is wanted than is left.
    """
    usual = alpha_look(entries, now=now, level=level)
    if wanted is None:
        return usual
    if not 0 < wanted <= usual.left_before:
        raise InputError(
            f"Alpha {wanted:g} is not to be had: {usual.left_before:g} of {level:g} is left for 90 days "
            "(evaluation.significance_level). Ask for less, or wait."
        )
    return AlphaLook(alpha=wanted, left_before=usual.left_before, left_after=usual.left_before - wanted)


def alpha_payload(look: AlphaLook, test: LiveTest) -> dict[str, Any]:
    """Return what the entry of the stream ``alpha`` holds."""
    return {
        "alpha": look.alpha, "left_after": look.left_after, "live_test": test.name,
        "challenger": test.challengers[0].version, "champion": test.control.version,
    }  # fmt: skip
