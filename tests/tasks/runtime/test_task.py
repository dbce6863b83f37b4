import pytest
from prefect import flow

from evergreen.tasks.core.errors import Blocked, NotLearnable
from evergreen.tasks.runtime.task import SIDE_EFFECT, stage_task
from tests.support.servers import wait_for

pytestmark = pytest.mark.server


@stage_task(**SIDE_EFFECT)
def refuse(kind):
    if kind == "held":
        raise Blocked("lock_held", "Somebody else is acting.")
    if kind == "insufficient":
        raise NotLearnable("too_few_rows", "Too few rows.")
    return kind


@flow
def outer(kind):
    try:
        return refuse(kind)
    except (Blocked, NotLearnable) as error:
        return str(error)


@pytest.mark.parametrize(
    ("kind", "seen", "state"),
    [
        ("held", "Somebody else is acting.", "Blocked"),
        ("insufficient", "Too few rows.", "InsufficientData"),
        ("fine", "fine", "Completed"),
    ],
)
def test_a_refusal_completes_its_task_run_and_reaches_the_flow(prefect_server, kind, seen, state):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    final = outer(kind, return_state=True)
    assert seen == final.result()
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[final.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:  # task runs reach the server by events, a moment later
        runs = wait_for(
            lambda: [
                r for r in client.read_task_runs(flow_run_filter=mine) if r.state and r.state.is_final()
            ],
            seconds=30,
            what="the task run's end",
        )
    assert [state] == [run.state.name for run in runs]


def test_the_plain_function_stays_within_reach():
    assert "fine" == refuse.fn("fine")


@flow
def beside(kind):
    waiting = refuse.begin(kind)
    try:
        return waiting()
    except (Blocked, NotLearnable) as error:
        return str(error)


@pytest.mark.parametrize(("kind", "seen"), [("insufficient", "Too few rows."), ("fine", "fine")])
def test_a_task_begun_beside_the_flow_answers_the_same(prefect_server, kind, seen):
    assert seen == beside(kind)


class Story(list):
    """What a task hands on; walking through it fails."""

    def __iter__(self):
        raise AssertionError("Prefect walked through an argument.")


@stage_task(**SIDE_EFFECT)
def tell():
    return {"told": Story(["a", "b"])}


@stage_task(**SIDE_EFFECT)
def hear(story, *, twice=False):
    return len(story["told"]) * (1 + twice)


@flow
def through():
    return hear(tell(), twice=True)


def test_answers_are_drawn_as_inputs_of_who_gets_them_and_not_walked_through(prefect_server):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    final = through(return_state=True)
    assert 4 == final.result()
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[final.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        runs = wait_for(
            lambda: found if len(found := client.read_task_runs(flow_run_filter=mine)) == 2 else None,
            seconds=30,
            what="both task runs",
        )
    told, heard = sorted(runs, key=lambda run: run.name, reverse=True)
    assert [told.id] == [each.id for each in heard.task_inputs["story"]]
