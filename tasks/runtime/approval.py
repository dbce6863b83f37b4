"""Ask a person: the run pauses with a form in the Prefect UI and goes on with the answer, or without one."""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.exceptions import FlowPauseTimeout, NotPausedError
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from evergreen.tasks.core.verdict import Reason, StageResult
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.publish import artifact_key

GRACE_S = 600
"""How much longer than ours Prefect's timeout is: a run that overstays Prefect's can only end Failed."""


class Approval(RunInput):
    """The form: yes or no, and why."""

    approve: bool = Field(default=False, title="Promote", description="Yes promotes, no keeps the champion")
    why: str = Field(default="", title="Why", description="Kept in the ledger with the decision")


def approve_by_policy(setup: Setup, result: StageResult, *, question: str) -> Reason:
    """Return the answer of the policy (``promotion.approval``), or of the person it asks."""
    policy = setup.config.promotion
    if policy.approval == "auto":
        return Reason(code="approved", message="Approved by policy (promotion.approval: auto).")
    return ask_approval(
        key=str(result.decision_id), question=question, timeout=policy.approval_timeout.amount
    )


def ask_approval(*, key: str, question: str, timeout: float) -> Reason:
    """Pause the running flow until a person answers or the time is up.

    Parameters
    ----------
    key : str
        Key of the pause; the decision's id, so that an answer belongs to one question.
    question : str
        Markdown shown above the form.
    timeout : float
        Seconds to wait.

    Returns
    -------
    Reason
        ``approved``, ``not_approved`` or ``approval_timed_out``.
    """
    form: Any = Approval.with_initial_data(description=question)
    run_id = UUID(str(flow_run.get_id()))
    with _resumed_after(timeout, run_id) as timed_out:
        answer = pause_flow_run(
            wait_for_input=form,
            timeout=math.ceil(timeout) + GRACE_S,
            key=artifact_key(f"approval-{key}"),
            poll_interval=2,
        )
    if timed_out():
        message = f"There was no answer within {timeout:g} s; the champion is kept."
        return Reason(code="approval_timed_out", message=message, observed=timeout, limit=timeout)
    why = f": {answer.why.rstrip('.')}." if answer.why else "."
    if answer.approve:
        return Reason(code="approved", message=f"Approved by hand{why}")
    return Reason(code="not_approved", message=f"Not approved{why}")


@contextmanager
def _resumed_after(seconds: float, run_id: UUID) -> Iterator[Callable[[], bool]]:
    """Answer no in the background when the time is up; yields whether that happened.

    A person who answers at the same moment wins: a run that no longer waits cannot be resumed again.
    """
    happened = threading.Event()

    def give_up() -> None:
        with contextlib.suppress(NotPausedError, FlowPauseTimeout):
            resume_flow_run(run_id, run_input={"approve": False, "why": "timed out"})
            happened.set()

    # a thread begins without context variables, where Prefect keeps the settings in force
    timer = threading.Timer(seconds, contextvars.copy_context().run, args=(give_up,))
    timer.daemon = True
    timer.start()
    try:
        yield happened.is_set
    finally:
        timer.cancel()
        timer.join()
