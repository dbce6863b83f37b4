"""Ask a person: the run pauses with a form in the Prefect UI and goes on with the answer."""

from __future__ import annotations

import math
from typing import Any

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from tasks.core.verdict import Reason
from tasks.links import artifact_key


class Approval(RunInput):
    """The form: yes or no, and why."""

    approve: bool = Field(default=False, title="Promote", description="Yes promotes, no keeps the champion")
    why: str = Field(default="", title="Why", description="Kept in the ledger with the decision")


def ask_approval(*, key: str, question: str, timeout: float) -> Reason:
    """Pause the running flow until somebody answers.

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
    try:
        answer = pause_flow_run(
            wait_for_input=form,
            timeout=math.ceil(timeout),
            key=artifact_key("approval", key),
            poll_interval=2,
        )
    except FlowPauseTimeout:
        message = f"Nobody answered within {timeout:g} s; the champion is kept."
        return Reason(code="approval_timed_out", message=message, observed=timeout, limit=timeout)
    said = f": {answer.why}" if answer.why else "."
    if answer.approve:
        return Reason(code="approved", message=f"Approved by hand{said}")
    return Reason(code="not_approved", message=f"Not approved{said}")
