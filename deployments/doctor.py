"""Check the machine, the servers, the configurations and the installed packages; say what to do."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement

from evergreen.deployments.servers import prefect_answers, read_servers
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.redact import redacted, without_credentials
from evergreen.tasks.io.config import find_model, list_models, read_config, shown_path
from evergreen.tasks.io.settings import FROZEN, Settings, read_settings
from evergreen.tasks.io.setup import Stores

_MIN_FREE_GB = 2.0
_PATIENCE_S = 10.0
"""How long the stores have to answer, all of them together; MLflow's own client would wait for minutes."""


def run_checks(*, patience_s: float = _PATIENCE_S) -> list[dict[str, Any]]:
    """Run every check; each answers with ``check``, ``ok`` and a ``message`` that says what to do.

    Parameters
    ----------
    patience_s : float
        Seconds that the stores have to answer.
    """
    settings = read_settings()
    checks: tuple[Callable[[Settings], Iterator[tuple[str, bool, str]]], ...] = (
        _python,
        _packages,
        _disk,
        _clock,
        _prefect,
        partial(_stores, patience_s=patience_s),
        _configs,
    )
    return [
        {"check": name, "ok": ok, "message": message}
        for check in checks
        for name, ok, message in check(settings)
    ]


def _python(_: Settings) -> Iterator[tuple[str, bool, str]]:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    yield (
        "python",
        ok,
        found if ok else f"{found} found, 3.11 or newer is needed: run make setup PYTHON=python3.11",
    )


def _clock(_: Settings) -> Iterator[tuple[str, bool, str]]:
    told = os.environ.get(FROZEN)
    message = f"{FROZEN} stops the clock of all decisions at {told}: unset it unless this is a rehearsal"
    yield "clock", not told, message if told else "the computer's"


def _packages(_: Settings) -> Iterator[tuple[str, bool, str]]:
    wrong = []
    for requirement in map(Requirement, requires("evergreen-mlops") or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, needed {requirement.specifier}")
    remedy = "run make setup, or pip install evergreen-mlops where it is installed as a package"
    yield "packages", not wrong, f"{'; '.join(wrong)}: {remedy}" if wrong else "as required"


def _disk(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.0f} GB free for {settings.home.name}"
    yield "disk", free >= _MIN_FREE_GB, text if free >= _MIN_FREE_GB else f"{text}: make room"


def _prefect(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    url = os.environ.get("PREFECT_API_URL") or read_servers(settings.home).get("prefect", {}).get("api")
    if url is None:
        yield "prefect", True, "no server running; commands start a temporary one ('evergreen up' keeps one)"
        return
    ok, shown = prefect_answers(url), redacted(url)
    yield (
        "prefect",
        ok,
        f"{shown} answers" if ok else f"{shown} does not answer: run 'evergreen up' or unset the address",
    )
    if ok:
        yield from _old_names(url)


def _old_names(url: str) -> Iterator[tuple[str, bool, str]]:
    from evergreen.deployments.old_names import find_old_names

    found = find_old_names(url)
    yield "names", not found, "; ".join(found) if found else "deployments and automations go by today's names"


def _stores(settings: Settings, *, patience_s: float) -> Iterator[tuple[str, bool, str]]:
    stores = Stores(settings)
    looks: dict[str, Callable[[], object]] = {
        "ledger": lambda: stores.ledger.last("doctor", "decisions"),
        "log": lambda: stores.log.newest_position("doctor"),
        "mlflow": lambda: stores.registry.aliases("doctor"),
    }
    if settings.tracking_uri.startswith("sqlite") and not settings.home.exists():
        yield "stores", True, f"embedded, made in {settings.home.name}/ at first use"
        return
    for name, trouble in ask_at_once(looks, patience_s=patience_s).items():
        remedy = "Check EVERGREEN_LEDGER_URL, EVERGREEN_LOG_URL and MLFLOW_TRACKING_URI."
        yield name, trouble is None, "answers" if trouble is None else f"{trouble}. {remedy}"


def ask_at_once(asks: Mapping[str, Callable[[], object]], *, patience_s: float) -> dict[str, str | None]:
    """Ask all at the same time and return what was wrong with each; None where it answered.

    Parameters
    ----------
    asks : mapping of str to callable
        What to ask, by name. One that does not answer in time is left behind: its thread ends with the process.
    patience_s : float
        Seconds after which nothing is waited for any more.
    """
    found: dict[str, str | None] = {}

    def ask(name: str, look: Callable[[], object]) -> None:
        try:
            look()
        except Exception as error:  # whatever a store says is what the reader must know
            found[name] = f"{type(error).__name__}: {without_credentials(str(error))}".rstrip(".")
        else:
            found[name] = None

    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in asks.items()]
    deadline = time.monotonic() + patience_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"Nothing was answered within {patience_s:g} s"
    return {name: found.get(name, late) for name in asks}


def _configs(settings: Settings) -> Iterator[tuple[str, bool, str]]:
    names, folder = list_models(settings.config_dir), shown_path(settings.config_dir)
    if not names:
        yield ("config", True, f"no model in {folder}/ yet: 'evergreen init DATA --target COLUMN'")
    for name in names:
        try:
            read_config(find_model(name, config_dir=settings.config_dir))
        except EvergreenError as error:
            yield f"{folder}/{name}.yaml", False, str(error)
        else:
            yield f"{folder}/{name}.yaml", True, "reads well"
