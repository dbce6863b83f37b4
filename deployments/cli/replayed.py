"""What a replay says on a terminal: a table of policies, the gaps to the best, the settings to paste."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

_HEAD = ("policy", "mean", "± 95 %", "worst", "retr", "prom", "ref", "alarms", "regret")


def show_replay(result: dict[str, Any]) -> None:
    """Print the policies, the baseline, the front and what a search found."""
    console = Console()
    if not result.get("policies"):
        console.print(f"{result['model']}: {result['state']}", markup=False)
        for reason in result["reasons"]:
            console.print(f"  {reason['code']}: {reason['message']}", markup=False, soft_wrap=True)
        return
    metric = result["policies"][0]["metric"]
    table = Table(
        *(Column(name, no_wrap=True) for name in _HEAD),
        title=f"{result['model']}: {metric} from {result['start']} on",
        box=None,
        padding=(0, 1),
    )
    for policy in [*result["policies"], *([result["baseline"]] if result["baseline"] else [])]:
        table.add_row(*_cells(policy))
    console.print(table, highlight=False)
    accuracies = {
        one["policy"]: one["accuracy"]
        for one in [*result["policies"], result["baseline"] or {}]
        if one.get("accuracy")
    }
    if accuracies:
        said = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
        console.print(f"accuracy: {said}", markup=False, highlight=False, soft_wrap=True)
    front = [one["policy"] for one in result["pareto"] if one["front"]]
    console.print(
        f"No other is both better and cheaper than: {', '.join(front)}", markup=False, soft_wrap=True
    )
    for note in result["notes"]:
        console.print(f"{note['code']}: {note['message']}", markup=False, highlight=False, soft_wrap=True)
    if result.get("search"):
        _show_search(console, result["search"])
    if result.get("run_url"):
        console.print(f"page: {result['run_url']}", markup=False, highlight=False, soft_wrap=True)


def _cells(policy: dict[str, Any]) -> list[str]:
    low, high = policy["mean_interval"]
    half = None if low is None or high is None else (high - low) / 2
    counts = [str(policy[name]) for name in ("retrainings", "promotions", "refused", "alarms")]
    numbers = [_number(value) for value in (policy["mean"], half, policy["worst"])]
    return [policy["policy"], *numbers, *counts, _number(policy["regret"])]


def _show_search(console: Console, search: dict[str, Any]) -> None:
    console.print(
        f"\nSettings found before {search['unseen_from']}, and what they did after it:", markup=False
    )
    for one in search["chosen"]:
        later = one["unseen_part"] or {}
        console.print(
            f"{one['policy']}: mean {_number(later.get('mean'))}, {later.get('retrainings')} retrainings",
            markup=False,
        )
        console.print(one["yaml"].rstrip(), markup=False, highlight=False)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"
