"""Describe what is logged, then log it: stages yield these items, one writer calls MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metrics:
    """Metric values by name; names follow MLflow's rule (``ndcg_at_3``, never ``ndcg@3``).

    ``step`` orders values of one name, e.g. along a clock.
    """

    values: dict[str, float]
    step: int = 0


@dataclass(frozen=True)
class Params:
    """Parameters by name; values are turned into text by the writer."""

    values: dict[str, Any]


@dataclass(frozen=True)
class Tags:
    """Run tags by name; ours begin with ``evergreen.``."""

    values: dict[str, str]


@dataclass(frozen=True)
class Json:
    """A JSON document stored at ``path`` among the run's artifacts."""

    path: str
    content: Any


@dataclass(frozen=True)
class Text:
    """A text or HTML document stored at ``path`` among the run's artifacts."""

    path: str
    content: str


@dataclass(frozen=True)
class Figure:
    """A matplotlib figure stored as an image at ``path``; the writer closes it."""

    path: str
    figure: Any


@dataclass(frozen=True)
class Table:
    """Columns of equal length, stored so that MLflow shows them as a table."""

    path: str
    columns: dict[str, list[Any]]


@dataclass(frozen=True)
class File:
    """A file of this machine that is copied to ``path`` among the run's artifacts, under its own name."""

    path: str
    source: str


LogItem = File | Metrics | Params | Tags | Json | Text | Figure | Table
