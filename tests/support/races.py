"""Processes that start together: what they do, and how they are let go at once."""

import multiprocessing
from datetime import UTC, datetime

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.io.ledger import open_ledger
from evergreen.tasks.io.prediction_log.records import Prediction, WindowRecord
from evergreen.tasks.io.prediction_log.store import open_log

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
