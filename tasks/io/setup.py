"""Open a model's configuration and the stores, each store at its first use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.verdict import Reason, StageResult
from evergreen.tasks.io.config import find_model, reach_team_modules, read_config
from evergreen.tasks.io.databases import check_places
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry, Registry
from evergreen.tasks.io.settings import Settings, read_settings, utc_now

if TYPE_CHECKING:
    from evergreen.tasks.io.prediction_log.store import Log


class Stores:
    """The registry, the ledger and the log of one machine; opened at first use, never at import."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def ledger(self) -> Ledger:
        """The database of decisions."""
        self.settings.make_home()
        return Ledger(self.settings.ledger_url)

    @cached_property
    def log(self) -> Log:
        """The log of windows and predictions; what reads and writes rows is imported with it."""
        from evergreen.tasks.io.prediction_log.store import Log

        self.settings.make_home()
        return Log(self.settings.log_url)

    @cached_property
    def registry(self) -> Registry:
        """The MLflow model registry."""
        self.settings.make_home()
        return MlflowRegistry(self.settings.tracking_uri)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One model's configuration and the stores of this machine."""

    config: ModelConfig
    """The model's configuration."""
    path: Path
    """Its file."""
    settings: Settings
    """What differs by machine."""
    stores: Stores
    """Registry, ledger and log."""

    @property
    def base(self) -> Path:
        """Folder that relative data paths start at."""
        return self.path.parent

    @property
    def model(self) -> str:
        """Registered model name."""
        return self.config.model


def open_setup(model: str) -> Setup:
    """Read a model's configuration and prepare its stores.

    Parameters
    ----------
    model : str
        A name under the configuration folder, or the path of a YAML file.

    Raises
    ------
    InputError
        When the file is missing or a value in it is wrong; nothing was created.
    """
    settings = read_settings()
    check_places(settings)
    reach_team_modules(settings)
    path = find_model(model, config_dir=settings.config_dir)
    return Setup(config=read_config(path), path=path, settings=settings, stores=Stores(settings))


def record_decision(setup: Setup, kind: str, result: StageResult) -> StageResult:
    """Append a decision to the ledger and return the result with its ``decision_id``."""
    entry = setup.stores.ledger.append(
        model=setup.model, stream="decisions", kind=kind, payload=result.to_dict(), at=utc_now()
    )
    return replace(result, decision_id=entry.id)


def command_result(
    setup: Setup, state: str, reasons: Iterable[Reason], *, entry: LedgerEntry | None = None, **more: Any
) -> dict[str, Any]:
    """Return the result of a command: state, model, reasons and the entry it wrote, then ``more``."""
    return {
        "state": state,
        "model": setup.model,
        "reasons": [reason.to_dict() for reason in reasons],
        "decision_id": entry.id if entry else None,
        **more,
    }
