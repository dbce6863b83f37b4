"""Evergreen: Prefect flows that keep tabular models good after they ship.

The code stands in ``flows/``, ``tasks/`` and ``deployments/`` on top of the repository and is imported as
``evergreen.flows``, ``evergreen.tasks`` and ``evergreen.deployments``. Importing ``evergreen`` itself imports nothing
more; ``evergreen.train`` and the other flows are imported when they are first asked for.
"""

from importlib import import_module
from typing import Any

_FLOWS = {
    "ab_test": "ab_test",
    "challenge": "challenge",
    "monitor": "monitor",
    "promote": "promote",
    "register": "register",
    "replay": "replay",
    "retrain": "retrain",
    "train": "train",
    "validate": "validate",
}
"""Names of flows, and the module of ``evergreen.flows`` each stands in."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("evergreen-mlops")
    if name in _FLOWS:
        return getattr(import_module(f"evergreen.flows.{_FLOWS[name]}"), name)
    raise AttributeError(f"module 'evergreen' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FLOWS, "__version__"])
