"""Check the machine, the servers, the configurations and the installed packages; say what to do."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from evergreen.deployments.servers import prefect_answers, read_servers
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.core.redact import redacted, without_credentials
from evergreen.tasks.core.stored_words import STATES
from evergreen.tasks.io.config import find_model, list_models, reach_team_modules, read_config, shown_path
from evergreen.tasks.io.settings import FROZEN, Settings, read_settings
from evergreen.tasks.io.setup import Stores

_MIN_FREE_GB = 2.0
_TIMEOUT_S = 10.0
"""How long the stores have to answer, all of them together; MLflow's own client would wait for minutes."""
_STATE_EVENT = re.compile(rf"prefect\.flow-run\.({'|'.join(STATES)})\b")

Check = tuple[str, bool, str]
"""Name of a check, whether it passed, and a message that says what to do where it did not."""


def run_checks(*, timeout_s: float = _TIMEOUT_S) -> list[dict[str, Any]]:
    """Run every check; each answers with ``check``, ``ok`` and a ``message`` that says what to do.

    Parameters
    ----------
    timeout_s : float
        Seconds that the stores have to answer.
    """
    settings = read_settings()
    checks = {"python": _python(), "packages": _packages(), "disk": _disk(settings), "clock": _clock()}
    checks |= {"prefect": _prefect(settings), "stores": _stores(settings, timeout_s=timeout_s)}
    checks |= {"config": _configs(settings)}
    answered = chain.from_iterable(_guarded(name, check) for name, check in checks.items())
    return [{"check": name, "ok": ok, "message": message} for name, ok, message in answered]


def _guarded(name: str, checks: Iterator[Check]) -> Iterator[Check]:
    """Yield checks; one that fails itself is a finding, and ends no other."""
    try:
        yield from checks
    except Exception as error:  # whatever it is, the reader must know it
        yield name, False, _problem(error)


def _problem(error: Exception) -> str:
    said = without_credentials(str(error)).rstrip(".")
    return said if isinstance(error, EvergreenError) else f"{type(error).__name__}: {said}"


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    remedy = f"{found} is installed, 3.11 or newer is needed: run make setup PYTHON=python3.11"
    yield "python", ok, found if ok else remedy


def _clock() -> Iterator[Check]:
    now = os.environ.get(FROZEN)
    message = f"{FROZEN} stops the clock of all decisions at {now}: unset it unless this is a rehearsal"
    yield "clock", not now, message if now else "the computer's"


def _packages() -> Iterator[Check]:
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


def _disk(settings: Settings) -> Iterator[Check]:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.0f} GB free for {settings.home.name}"
    yield "disk", free >= _MIN_FREE_GB, text if free >= _MIN_FREE_GB else f"{text}: make room"


def _prefect(settings: Settings) -> Iterator[Check]:
    url = os.environ.get("PREFECT_API_URL") or read_servers(settings.home).get("prefect", {}).get("api")
    if url is None:
        yield "prefect", True, "no server running; commands start a temporary one ('evergreen up' keeps one)"
        return
    ok, shown = prefect_answers(url), redacted(url)
    remedy = f"{shown} does not answer: run 'evergreen up', or unset PREFECT_API_URL"
    yield "prefect", ok, f"{shown} answers" if ok else remedy
    if ok:
        try:
            old = find_old_names(url)
        except Exception as error:  # whatever Prefect's client makes of another server's answers
            said = without_credentials(str(error))
            old = [f"{shown} does not answer as Prefect does ({said}): correct or unset PREFECT_API_URL"]
        yield "names", not old, "; ".join(old) or "deployments and automations have current names"


# Deployments and automations that still go by a name of an earlier version.


def find_old_names(api_url: str, *, page: int = 200) -> list[str]:
    """Return a sentence for each deployment and automation of a server that still has an old name.

    Parameters
    ----------
    api_url : str
        Address of a Prefect server that answers.
    page : int
        Flows or deployments that are asked for at once; the server gives at most 200.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        flows = {flow.id: flow.name for flow in _all(client.read_flows, page)}
        deployments = [(flows.get(one.flow_id, "?"), one) for one in _all(client.read_deployments, page)]
        return [*old_deployments(deployments), *old_automations(client.read_automations())]


def _all(read: Callable[..., Sequence[Any]], page: int) -> Iterator[Any]:
    """Yield what Prefect's client reads page by page."""
    offset = 0
    while found := read(limit=page, offset=offset):
        yield from found
        offset += len(found)


def old_deployments(deployments: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each deployment made by ``evergreen deploy`` whose flow or entrypoint has a new name.

    Parameters
    ----------
    deployments : iterable of (str, deployment)
        Name of the flow, and the deployment as Prefect's client reads it.
    """
    from evergreen.deployments.deploy import FLOWS
    from evergreen.tasks.runtime.result import OURS, model_tag

    for flow, one in deployments:
        if not {OURS, model_tag(one.name)} <= set(one.tags):
            continue
        if flow not in FLOWS:
            path = f"{flow}/{one.name}"
            yield (
                f"deployment '{path}' is of a flow that has a new name: run 'evergreen deploy', then 'prefect "
                f"deployment delete {path}'"
            )
        elif one.entrypoint != FLOWS[flow][0]:
            yield f"deployment '{flow}/{one.name}' has an old entrypoint ({one.entrypoint}): run 'evergreen deploy'"


def old_automations(automations: Iterable[Any]) -> Iterator[str]:
    """Yield a sentence for each automation whose trigger waits for a state that has a new name."""
    for one in automations:
        for old in sorted(set(_STATE_EVENT.findall(one.trigger.model_dump_json()))):
            yield f"automation '{one.name}' waits for the state {old}, which is now {STATES[old]}: change its trigger"


def _stores(settings: Settings, *, timeout_s: float) -> Iterator[Check]:
    stores = Stores(settings)
    questions: dict[str, Callable[[], object]] = {
        "ledger": lambda: stores.ledger.last("doctor", "decisions"),
        "log": lambda: stores.log.newest_position("doctor"),
        "mlflow": lambda: stores.registry.aliases("doctor"),
    }
    if settings.tracking_uri.startswith("sqlite") and not settings.home.exists():
        place = next(folder for folder in settings.home.parents if folder.exists())
        wanted = f"created in {settings.home.name}/ at first use"
        remedy = f"EVERGREEN_HOME cannot be made: {place} may not be written to. Name another folder."
        ok = os.access(place, os.W_OK)
        yield "stores", ok, f"embedded, {wanted}" if ok else remedy
        return
    for name, problem in ask_at_once(questions, timeout_s=timeout_s).items():
        remedy = "Check EVERGREEN_LEDGER_URL, EVERGREEN_LOG_URL and MLFLOW_TRACKING_URI."
        yield name, problem is None, "answers" if problem is None else f"{problem}. {remedy}"


def ask_at_once(questions: Mapping[str, Callable[[], object]], *, timeout_s: float) -> dict[str, str | None]:
    """Call all at the same time and return what was wrong with each; None where it answered.

    Parameters
    ----------
    questions : mapping of str to callable
        What to call, by name. One that does not return in time is left alone: its thread ends with the process.
    timeout_s : float
        Seconds after which the others count as not answered.
    """
    problems: dict[str, str | None] = {}

    def ask(name: str, question: Callable[[], object]) -> None:
        try:
            question()
        except Exception as error:  # whatever a store raises is what the reader must know
            problems[name] = _problem(error)
        else:
            problems[name] = None

    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in questions.items()]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"No answer within {timeout_s:g} s"
    return {name: problems.get(name, late) for name in questions}


def _configs(settings: Settings) -> Iterator[Check]:
    names, folder = list_models(settings.config_dir), shown_path(settings.config_dir)
    reach_team_modules(settings)
    if not names:
        yield "config", True, f"no model in {folder}/ yet: run 'evergreen init DATA --target COLUMN'"
    for name in names:
        try:
            path = find_model(name, config_dir=settings.config_dir)
            _check_files(read_config(path), path.parent)
        except EvergreenError as error:
            yield f"{folder}/{name}.yaml", False, str(error)
        else:
            yield f"{folder}/{name}.yaml", True, "reads well"


def _check_files(config: ModelConfig, base: Path) -> None:
    """Check that the files are there that ``data.source`` names on this machine; raises an error where they are not.

    Databases, generators, other machines and what an environment or a secret holds are not asked.
    """
    from evergreen.tasks.io.sources.base import detect_format
    from evergreen.tasks.io.sources.open import open_source

    source = config.data.source
    if source.startswith(("env:", "secret:")) or "://" in source or detect_format(source) != "files":
        return
    open_source(config, base=base)
