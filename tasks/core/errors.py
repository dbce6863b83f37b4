"""One root exception, subclasses by cause; a message says what, the value, what is allowed and what to do."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable


class EvergreenError(Exception):
    """Something is broken or cannot go on. Exit code 1 unless a subclass says otherwise."""

    exit_code = 1
    code = "error"


class InputError(EvergreenError):
    """What a person typed, configured or handed in is wrong: nothing was changed. Exit code 2."""

    exit_code = 2
    code = "input_error"


class ConfigError(InputError):
    """A key or value in a configuration file is wrong."""

    code = "config_error"


class DataError(InputError):
    """The data cannot be read as the configuration says: a missing file or column, an unparsable value."""

    code = "data_error"


class UnknownName(InputError):
    """A name that a registry of ours (models, metrics, estimators, columns) does not hold."""

    code = "unknown_name"


class StageRefusal(EvergreenError):
    """A stage ends without doing its work; that is no crash, so the exit code is 0.

    Attributes
    ----------
    reason_code : stable machine-readable code, e.g. ``one_class`` or ``too_few_rows``.
    observed, limit : what was observed and what is required; None: no number.
    n : number of rows (or blocks) it was observed on.
    """

    exit_code = 0

    def __init__(
        self,
        reason_code: str,
        message: str,
        *,
        observed: float | str | None = None,
        limit: float | str | None = None,
        n: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.observed = observed
        self.limit = limit
        self.n = n


class NotLearnable(StageRefusal):
    """The data were read but cannot be trained on or judged on; the stage ends INSUFFICIENT."""


class Blocked(StageRefusal):
    """An action is refused for now (lock held, cooldown, pause, the champion moved); not a crash.

    ``reason_code`` is one of ``lock_held``, ``lock_lost``, ``champion_moved``, ``already_champion``,
    ``window_taken``, ``test_over``, ``test_void``.
    """


class Unreachable(EvergreenError):
    """A server or store does not answer; worth a retry."""

    code = "unreachable"


class RenamedWord(FutureWarning):
    """Somebody used a word of an earlier version; the message names the new one."""


def warn_renamed(old: str, new: str, *, where: str, remedy: str) -> None:
    """Warn that a word is understood for one release only, and say what to write instead."""
    warnings.warn(
        f"'{old}' in {where} is now called '{new}'; the old word is understood for one release. {remedy}",
        RenamedWord,
        stacklevel=2,
    )


_NEAR = 0.65
"""Least share of letters that two names must have in common for one to count as a typo of the other."""
_LEAST_PART = 3
"""Letters that a part of a name needs to stand for the name."""


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the likeliest known name, or an empty string where none is near.

    Letters count alike in either case. A name that holds what was written, or the other way round, is likelier than
    one that is merely spelt alike.

    >>> did_you_mean("acuracy", ["accuracy", "recall"])
    " Did you mean 'accuracy'?"
    >>> did_you_mean("fraud", ["Fault", "FraudFound_P"])
    " Did you mean 'FraudFound_P'?"
    >>> did_you_mean("Fraud", ["Fault"]), did_you_mean("zzz", ["accuracy"])
    ('', '')
    """
    names, wanted = list(choices), value.lower()
    likeness = {name: difflib.SequenceMatcher(None, wanted, name.lower()).ratio() for name in names}
    parts = [name for name in names if _is_part(wanted, name.lower()) or _is_part(name.lower(), wanted)]
    near = parts or [name for name in names if likeness[name] >= _NEAR]
    return f" Did you mean '{max(near, key=likeness.__getitem__)}'?" if near else ""


def _is_part(part: str, whole: str) -> bool:
    return len(part) >= _LEAST_PART and part in whole


def unknown_name(what: str, value: str, choices: Iterable[str], *, where: str = "") -> UnknownName:
    """Build the error for a name that is not known: what, value, place, what is known, the likeliest.

    >>> str(unknown_name("metric", "acuracy", ["accuracy"], where="evaluation.metric"))
    "Unknown metric 'acuracy' in evaluation.metric. Known: accuracy. Did you mean 'accuracy'?"
    """
    names = sorted(choices)
    place = f" in {where}" if where else ""
    listed = ", ".join(names) or "none"
    return UnknownName(f"Unknown {what} '{value}'{place}. Known: {listed}.{did_you_mean(value, names)}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for a message.

    >>> counted(1, "window"), counted(2_000, "window")
    ('1 window', '2,000 windows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
