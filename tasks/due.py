"""Say what is due: which triggers ask for a retraining of a model, and what holds it."""

from __future__ import annotations

from typing import Any

from tasks.core.retraining.decide import decide_retrain
from tasks.core.retraining.due import due_triggers
from tasks.core.retraining.policy import retrain_policy
from tasks.core.retraining.words import Moment
from tasks.io.clock import utc_now
from tasks.io.setup import Setup
from tasks.pause import retraining_status
from tasks.retrain import Request, gather_causes
from tasks.retrain_desk import read_history


def due_now(setup: Setup) -> dict[str, Any]:
    """Return what asks for a retraining of a model, what holds it, and when the next is due; it only reads.

    Returns
    -------
    dict
        ``state`` (Due, Held or Insufficient), ``model``, ``reasons``, ``causes``, ``triggers`` (those of calendar and
        labels, due or not), ``next_allowed_at``, ``retraining`` (as in ``status``).
    """
    asked = gather_causes.fn(setup, Request(trigger="schedule"))
    moment, policy = Moment(at=utc_now(), position=asked.labels.newest), retrain_policy(setup.config)
    history = read_history(setup.stores.ledger, setup.model)
    decision = decide_retrain(moment, history, asked, policy)
    states = {"start": "Due", "hold": "Held", "insufficient": "Insufficient"}
    plain = decision.to_dict()
    return {
        "state": states[plain["outcome"]],
        "model": setup.model,
        **{name: plain[name] for name in ("reasons", "causes", "next_allowed_at")},
        "triggers": [one.to_dict() for one in due_triggers(moment, history, asked, policy)],
        "retraining": retraining_status(setup),
    }
