"""What a client may say came true: a class the model's outcomes can have, or a number that can be stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evergreen.tasks.core.serving.answers import RequestRefused, shown

_LONGEST_TEXT = 1000
_MOST_NAMED = 20


def check_outcome(outcome: Any, *, problem: str, classes: Sequence[Any] = (), field: str) -> None:
    """Check an outcome before it is written: the first one stays, so that a wrong one could never be corrected.

    Classes are compared as outcomes from the log are: ``1``, ``1.0`` and ``true`` are one, text is never a number. Of a
    multiclass problem a class that no version knows yet is taken, for monitoring must see it come up; it has to be of
    the known ones' kind.

    Parameters
    ----------
    outcome : object
        As JSON had it.
    problem : str
        The model's.
    classes : sequence
        Those that the model knows; empty where none is served yet.
    field : str
        Where it stands in the request.

    Raises
    ------
    Refused
        ``wrong_type``, ``number_out_of_range`` or ``unknown_class``.
    """
    if problem not in ("binary", "multiclass"):
        if isinstance(outcome, bool) or not isinstance(outcome, int | float):
            raise _wrong_type(outcome, "a number", problem, field)
        _check_number(outcome, field)
        return
    if isinstance(outcome, str):
        if len(outcome) > _LONGEST_TEXT:
            raise _wrong_type(outcome, f"a class of at most {_LONGEST_TEXT} characters", problem, field)
    elif isinstance(outcome, int | float):
        _check_number(outcome, field)
    else:
        raise _wrong_type(outcome, "a class", problem, field)
    if classes and outcome not in classes and not (problem == "multiclass" and _is_alike(outcome, classes)):
        raise _unknown_class(outcome, classes, problem, field)


def _check_number(number: float, field: str) -> None:
    fits = math.isfinite(number) if isinstance(number, float) else -(2**63) <= number < 2**63
    if not fits:
        raise RequestRefused(
            422,
            "number_out_of_range",
            f"'{field}' is {_short(number)}; allowed are finite numbers, whole ones of 64 bits. Correct it.",
            field=field,
        )


def _is_alike(outcome: Any, classes: Sequence[Any]) -> bool:
    """Whether an outcome could stand beside these classes: text beside text, whole numbers beside whole ones."""
    if any(isinstance(each, str) for each in (outcome, *classes)):
        return all(isinstance(each, str) for each in (outcome, *classes))
    return float(outcome).is_integer() or not all(float(each).is_integer() for each in classes)


def _wrong_type(outcome: Any, wanted: str, problem: str, field: str) -> RequestRefused:
    return RequestRefused(
        422,
        "wrong_type",
        f"'{field}' is {_short(outcome)}; it must be {wanted}, for the problem is {problem}. Correct it.",
        field=field,
    )


def _unknown_class(outcome: Any, classes: Sequence[Any], problem: str, field: str) -> RequestRefused:
    listed = ", ".join(map(shown, classes[:_MOST_NAMED])) + (", …" if len(classes) > _MOST_NAMED else "")
    kind = "" if problem == "binary" else ", or a new class of their kind"
    return RequestRefused(
        422,
        "unknown_class",
        f"'{field}' is {_short(outcome)}, which is none of the model's classes. Allowed: {listed}{kind}. Correct it: "
        "an outcome is said once.",
        field=field,
    )


def _short(value: Any) -> str:
    too_long = isinstance(value, int) and abs(value) >= 2**63
    return "a whole number beyond 64 bits" if too_long else shown(value)
