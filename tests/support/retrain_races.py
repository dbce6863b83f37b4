"""Processes that ask for a retraining at the same moment: what the desk answers each of them."""

import os
import signal
import time
from contextlib import ExitStack
from datetime import timedelta

import numpy as np

from tasks.core.retraining.policy import RetrainPolicy
from tasks.core.retraining.report import conclude_busy, conclude_refusal
from tasks.core.retraining.words import MANUAL, Asked, Cause, Labels, Moment
from tasks.core.verdict import State
from tasks.io.clock import utc_now
from tasks.io.ledger import open_ledger
from tasks.retrain_desk import await_claim, take_desk

POLICY = RetrainPolicy(cooldown=timedelta(hours=1))
ASKED = Asked(causes=(Cause(trigger=MANUAL, said="asked"),), labels=Labels(positions=np.arange(10.0)))


def ask_once(url, seconds):
    """Ask for a retraining that takes some seconds; return state, codes, and when the next may start."""
    ledger, moment = open_ledger(url), Moment(at=utc_now())
    with ExitStack() as stack:
        desk = take_desk(stack, ledger, "fraud")
        if desk is None:
            return answer(conclude_busy("fraud", await_claim(ledger, "fraud"), now=moment.at, policy=POLICY))
        attempt = desk.take_up(POLICY)
        if attempt is None:
            attempt, decision = desk.claim(moment, ASKED, POLICY, until=None)
        if attempt is None:
            return answer(conclude_refusal("fraud", decision))
        time.sleep(seconds)
        desk.end(attempt, State.KEPT, version=2)
        return State.KEPT.value, ["started"], None


def answer(result):
    return result.state.value, [reason.code for reason in result.reasons], result.details["next_allowed_at"]


def die_after(url, stages):
    """Claim, note some stages, and be killed without a word."""
    ledger = open_ledger(url)
    with ExitStack() as stack:
        desk = take_desk(stack, ledger, "fraud")
        attempt = desk.take_up(POLICY)
        if attempt is None:
            attempt, _ = desk.claim(Moment(at=utc_now()), ASKED, POLICY, until=None)
        for stage in stages:
            attempt = desk.note(attempt, stage, {"state": "Trained", "version": 3, "decision_id": None})
        os.kill(os.getpid(), signal.SIGKILL)
