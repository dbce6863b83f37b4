"""What a command prints: one JSON object on stdout, or a short text for people; all else goes to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.core.errors import EvergreenError, Held, InputError, NotLearnable
from tasks.core.verdict import Reason, State

_SHOWN = (
    "version",
    "metric",
    "verdict",
    "test",
    "difference",
    "interval",
    "n",
    "blocks",
    "alpha_left",
    "run_url",
)


def note(message: str) -> None:
    """Tell a person what is going on, on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send whatever a library prints to stderr, so that stdout holds the answer alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print a stage's result."""
    if as_json:
        print(json.dumps(clean(result), default=str, allow_nan=False))
        return
    console = Console()
    version = f" version {result['version']}" if result.get("version") else ""
    console.print(f"[bold]{result['model']}[/bold]{version}: [bold]{result['state']}[/bold]", highlight=False)
    for reason in result.get("reasons", []):
        console.print(
            f"  {reason['code']}: {reason['message']}", highlight=False, markup=False, soft_wrap=True
        )
    facts = Table(show_header=False, box=None, padding=(0, 2))
    for key in _SHOWN:
        if result.get(key) is not None and key != "version":
            facts.add_row(key, _text(result[key]))
    for name, value in (result.get("metrics") or {}).items():
        baseline = (result.get("baseline") or {}).get(name)
        facts.add_row(name, _text(value) + (f"   baseline {_text(baseline)}" if baseline is not None else ""))
    console.print(facts)


def print_error(error: EvergreenError, *, as_json: bool) -> None:
    """Print one clear sentence on stderr; with ``--json`` also the object on stdout."""
    note(str(error))
    if as_json:
        state, reason = _ending(error)
        print(json.dumps({"state": state.value, "reasons": [clean(reason.to_dict())]}))


def _ending(error: EvergreenError) -> tuple[State, Reason]:
    """Return the state and the reason of what a command raised; a refusal is a decision, not a failure."""
    if isinstance(error, NotLearnable):
        return State.INSUFFICIENT, Reason.from_error(error)
    if isinstance(error, Held):
        return State.HELD, Reason(code=error.reason_code, message=str(error))
    state = State.INPUT_ERROR if isinstance(error, InputError) else State.FAILED
    return state, Reason(code=error.code, message=str(error))


def clean(value: Any) -> Any:
    """Return a JSON-safe copy: NaN and infinities become null, numpy numbers become plain ones."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def alarm_lines(alarms: list[dict[str, Any]]) -> list[str]:
    """Return a line for each open alarm: how grave, what, since when."""
    return [f"{a['level']:8} {a['name']} ({a['kind']}): {a['said']}, since {a['since']}" for a in alarms]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return str(value)
