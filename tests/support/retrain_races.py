"""Processes that ask for a retraining at the same moment: what the desk answers each of them."""

import os
import signal
import time
from contextlib import ExitStack
from datetime import timedelta

import numpy as np

from evergreen.tasks.core.retraining.report import conclude_busy, conclude_refusal
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    Cause,
    Labels,
    Moment,
    RetrainingRequest,
    RetrainPolicy,
)
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.ledger import open_ledger
from evergreen.tasks.io.retraining_claims import await_claim, take_claim
from evergreen.tasks.io.settings import utc_now

POLICY = RetrainPolicy(cooldown=timedelta(hours=1))
ASKED = RetrainingRequest(
    causes=(Cause(trigger=MANUAL, said="asked"),), labels=Labels(positions=np.arange(10.0))
)


def ask_once(url, seconds):
    """Ask for a retraining that takes some seconds; return state, codes, and when the next may start."""
    ledger, moment = open_ledger(url), Moment(at=utc_now())
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, "fraud")
        if desk is None:
            return answer(conclude_busy("fraud", await_claim(ledger, "fraud"), now=moment.at, policy=POLICY))
        attempt = desk.take_up(POLICY)
        if attempt is None:
            attempt, decision = desk.claim(moment, ASKED, POLICY, until=None)
        if attempt is None:
            return answer(conclude_refusal("fraud", decision))
        time.sleep(seconds)
        desk.end(attempt, State.CHAMPION_KEPT, version=2)
        return State.CHAMPION_KEPT.value, ["started"], None


def answer(result):
    return result.state.value, [reason.code for reason in result.reasons], result.details["next_allowed_at"]


def die_after(url, stages):
    """Claim, note some stages, and be killed without a word."""
    ledger = open_ledger(url)
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, "fraud")
        attempt = desk.take_up(POLICY)
        if attempt is None:
            attempt, _ = desk.claim(Moment(at=utc_now()), ASKED, POLICY, until=None)
        for stage in stages:
            attempt = desk.note(attempt, stage, {"state": "Trained", "version": 3, "decision_id": None})
        os.kill(os.getpid(), signal.SIGKILL)
