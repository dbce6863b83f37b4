"""Processes that start at the same moment: what they do, and how they are started together."""

import multiprocessing
import os
import signal
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import numpy as np

from evergreen.tasks.core.config.canary import GuardrailLimits
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.retraining.report import conclude_busy, conclude_refusal
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    Cause,
    Labels,
    Moment,
    RetrainingRequest,
    RetrainPolicy,
)
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.traffic.decide import Round, decide_traffic
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.ledger import open_ledger
from evergreen.tasks.io.prediction_log.records import Prediction, WindowRecord
from evergreen.tasks.io.prediction_log.store import open_log
from evergreen.tasks.io.retraining_claims import await_claim, take_claim
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.traffic import traffic_in_force, write_decision

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.races"])


def open_once(url, number):
    """Open (and at first migrate) a ledger and append one entry."""
    payload = {"number": number}
    open_ledger(url).append(model="fraud", stream="decisions", kind="train", payload=payload, at=NOW)


def claim_once(url):
    """Claim the one start that is to be had."""
    ledger = open_ledger(url)
    entry = ledger.claim(
        model="fraud",
        stream="retraining",
        at=NOW,
        decide=lambda history: None if history else ("started", {}),
    )
    return "held" if entry is None else "started"


def follow_all(url, count):
    """Number a stream up to ``count``, as one of many that each do the same; return how many were mine."""
    ledger, mine = open_ledger(url), 0
    while (length := _length(ledger)) < count:
        entry = ledger.follow(
            model="fraud",
            stream="windows-inputs",
            after=length,
            kind="window",
            payload={"is": length},
            at=NOW,
        )
        mine += entry is not None
    return mine


def hold(url, ready, done):
    """Hold a model's lock until told, or killed."""
    with open_ledger(url).lock("fraud"):
        ready.set()
        done.wait(60)


def open_log_once(url, number):
    """Open (and at first migrate) a log and put one window."""
    window = Window(float(number), number + 1.0)
    open_log(url).put_window(
        WindowRecord(model="fraud", phase=Phase.INPUTS, window=window, version=1, at=NOW)
    )


def append_all(url, count):
    """Append the same predictions as everybody else."""
    served = [
        Prediction(prediction_id=f"p{number}", position=float(number), features={"x": number})
        for number in range(count)
    ]
    open_log(url).append_predictions("fraud", served, at=NOW)


def _length(ledger):
    last = ledger.last("fraud", "windows-inputs")
    return last.seq if last else 0


def _let_go(start, function, arguments, answers):
    start.wait()
    answers.put(function(*arguments))


def race(function, arguments):
    """Run ``function`` once for each tuple of arguments, all at the same moment; return the answers."""
    start, answers = CONTEXT.Barrier(len(arguments)), CONTEXT.Queue()
    runners = [CONTEXT.Process(target=_let_go, args=(start, function, each, answers)) for each in arguments]
    for runner in runners:
        runner.start()
    found = [answers.get(timeout=120) for _ in runners]
    for runner in runners:
        runner.join()
    return found


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


def bad_round(rows=400):
    """Return a round in which every other row of ``v8`` failed, and none of the champion's."""
    arm = ArmFigures(name="v8", rows=rows, errors=rows // 2, erred=rows // 2)
    return Round(number=1, since=utc_now(), figures=(ArmFigures(name="champion", rows=rows), arm))


def stop_once(url):
    """Judge, write, and follow what is there; return whether the entry is mine, and who answers now."""
    ledger, now = open_ledger(url), utc_now()
    state = traffic_in_force(ledger, "fraud", champion=7)
    entry = None
    if state.plan.challengers:
        decision = decide_traffic(state, bad_round(), now=now, limits=GuardrailLimits(processes=12))
        entry = write_decision(ledger, "fraud", decision, at=now)
    after = traffic_in_force(ledger, "fraud", champion=7)
    return entry is not None, [one.name for one in after.plan.variants]
