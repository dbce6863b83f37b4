"""Ask the champion and the servers for a sign of life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.alerts.alert import HEALTH
from tasks.core.errors import EvergreenError
from tasks.core.learning.answers import answer
from tasks.core.learning.features import feature_frame
from tasks.core.redact import without_credentials
from tasks.core.reign.plan import CHAMPION
from tasks.io.models import LoadedModel, load_model
from tasks.io.setup import Setup

MOST_ROWS = 5
"""Rows the champion is asked for."""


def ask_champion(
    setup: Setup, *, loaded: LoadedModel | None, rows: pd.DataFrame | None
) -> tuple[int | None, LoadedModel | None, str | None]:
    """Return the champion's number, the loaded champion, and what went wrong with either (None: nothing).

    Parameters
    ----------
    loaded : LoadedModel or None
        The champion, where it is loaded already.
    rows : DataFrame or None
        Rows with the features; a few are asked for. None: one row is made up.
    """
    try:
        version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
        if version is None:
            return None, None, None
    except Exception as error:  # the check of the store itself says it too
        return None, None, _said(error)
    try:
        loaded = loaded or load_model(setup, version)
        _predict(setup, loaded, rows)
    except Exception as error:  # whatever a model does when it is loaded or asked is what must be told
        return version, loaded, _said(error)
    return version, loaded, None


def _predict(setup: Setup, loaded: LoadedModel, rows: pd.DataFrame | None) -> None:
    """Ask for a few answers; raise when they are no finite numbers, one a row."""
    frame = _made_up(loaded) if rows is None else rows.head(MOST_ROWS)
    features = feature_frame(frame, loaded.schema)
    if features.empty:
        return
    score = answer(loaded.estimator, features, problem=setup.config.problem.value, classes=loaded.classes)
    if not np.isfinite(score).all():
        raise EvergreenError(f"The answer to {len(frame)} rows is not finite.")


def _made_up(loaded: LoadedModel) -> pd.DataFrame:
    schema = loaded.schema
    return pd.DataFrame([{**dict.fromkeys(schema.numeric, 0.0), **dict.fromkeys(schema.categorical, "x")}])


def ask_servers(setup: Setup) -> dict[str, str | None]:
    """Return what each store and server said instead of answering; None where it answered."""
    asks: dict[str, Callable[[], Any]] = {
        "ledger": lambda: setup.stores.ledger.last(setup.model, HEALTH),
        "mlflow": lambda: setup.stores.registry.aliases(setup.model),
        "prefect": _ask_prefect,
    }
    return {name: _trouble(ask) for name, ask in asks.items()}


def _ask_prefect() -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
    if trouble is not None:
        raise trouble


def _trouble(ask: Callable[[], Any]) -> str | None:
    try:
        ask()
    except Exception as error:  # each store raises its own; what it says is what must be known
        return _said(error)
    return None


def _said(error: Exception) -> str:
    return " ".join(without_credentials(f"{type(error).__name__}: {error}").split())[:300].rstrip(".")
