"""What on the Prefect server still goes by a name of an earlier version: deployments and automations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from evergreen.deployments.deploy import FLOWS
from evergreen.tasks.core.stored_words import STATES
from evergreen.tasks.runtime.result import OURS, model_tag

_STATE_EVENT = re.compile(rf"prefect\.flow-run\.({'|'.join(STATES)})\b")


def find_old_names(api_url: str, *, page: int = 200) -> list[str]:
    """Return a sentence for each deployment and automation of a server that still matches an old name.

    Parameters
    ----------
    api_url : str
        Address of a Prefect server that answers.
    page : int
        Flows or deployments that are asked for at once; the server gives at most 200.
    """
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
