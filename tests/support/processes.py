"""Processes of a test: many that start at the same moment, and one that is killed at each of its steps in turn."""

import functools
import json
import multiprocessing
import os
import signal
from pathlib import Path

from sqlalchemy import Engine, event

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "evergreen.tasks.io.retraining", "tests.support.bad_canary"])


def _run_together(start, function, arguments, answers):
    start.wait()
    answers.put(function(*arguments))


def race(function, arguments):
    """Run ``function`` once for each tuple of arguments, all at the same moment; return the answers."""
    barrier, answers = CONTEXT.Barrier(len(arguments)), CONTEXT.Queue()
    runners = [start(_run_together, barrier, function, each, answers) for each in arguments]
    found = [answers.get(timeout=120) for _ in runners]
    for runner in runners:
        runner.join()
    return found


def _write_answer(path, function, arguments):
    Path(path).write_text(json.dumps(function(*arguments)))


def start(function, *arguments, answer=None):
    """Start a function in a process of its own; its answer goes into the file ``answer``, where one is given."""
    if answer is not None:
        function, arguments = _write_answer, (str(answer), function, arguments)
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def finish(process):
    """Wait for a process's end; return its exit code."""
    process.join(3000)
    return process.exitcode


def ask(folder, function, *arguments):
    """Run a function in another process and return its answer."""
    path = Path(folder) / "answer.json"
    code = finish(start(function, *arguments, answer=path))
    assert code == 0, f"{function.__name__} ended with {code}"
    return json.loads(path.read_text())


def kill_process(_label):
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Points:
    """Counts what a process does, by label; at the point asked for it dies, and does nothing more.

    Parameters
    ----------
    crash_at : int, str or None
        Number of the point, or its label and how often that was met (``after commit:2``); None: nowhere.
    die : callable
        Ends the process, given the label.
    """

    def __init__(self, crash_at=None, *, die=kill_process):
        self.die = die
        self.arm(crash_at)

    def arm(self, crash_at):
        """Begin to count anew."""
        self.crash_at, self.labels, self.dead = crash_at, [], False

    def reach(self, label):
        self.labels.append(label)
        self.dead = self.dead or self.crash_at in (len(self.labels), f"{label}:{self.labels.count(label)}")
        if self.dead:
            self.die(label)

    def wrap(self, owner, name, label_of=None, patch=setattr):
        """Make each call of a method two points: before and after; ``label_of`` its arguments, or its name."""
        method = getattr(owner, name)

        @functools.wraps(method)
        def call(*args, **options):
            label = name if label_of is None else label_of(*args, **options)
            self.reach(f"before {label}")
            answer = method(*args, **options)
            self.reach(f"after {label}")
            return answer

        patch(owner, name, call)

    def listen(self):
        """Make each SQL statement and commit a point."""
        event.listen(
            Engine, "before_cursor_execute", lambda c, cur, sql, *rest: self.reach(f"sql {sql[:60]}")
        )
        event.listen(Engine, "commit", lambda connection: self.reach("commit"))


def run_until(job, crash_at=None):
    """Run ``job(points, acknowledge)`` in a forked process that dies at a point.

    Returns
    -------
    tuple of (int, list, list of str)
        The wait status; what was acknowledged before the end; all points that were reached, empty where it died.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            points = Points(crash_at)

            def acknowledge(what):
                os.write(writing, json.dumps(what).encode() + b"\n")
                points.reach("acknowledged")

            job(points, acknowledge)
            os.write(writing, json.dumps({"labels": points.labels}).encode() + b"\n")
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = [json.loads(line) for line in pipe]
    labels = said.pop()["labels"] if said and isinstance(said[-1], dict) else []
    return os.waitpid(child, 0)[1], said, labels


def crash_everywhere(make, job, look):
    """Run a job to its end, then kill it at each of its points, again at another point, and run it to its end.

    Parameters
    ----------
    make : callable
        Returns a fresh place to work in.
    job : callable
        ``job(place, attempt, points, acknowledge)``; attempts count from 0.
    look : callable
        ``look(place, acknowledged, complete)`` after each attempt; ``complete`` where nothing interrupted it.

    Returns
    -------
    list of (str, list)
        For the whole job and for each of its points: the label, and what was found after each attempt.
    """

    def attempts(deaths):
        place, acknowledged, found = make(), [], []
        for attempt, crash_at in enumerate(deaths):
            status, heard, labels = run_until(functools.partial(job, place, attempt), crash_at)
            assert status == 0 or (crash_at is not None and os.WTERMSIG(status) == signal.SIGKILL)
            assert status != 0 or attempt or crash_at is None
            acknowledged += heard
            found.append(look(place, acknowledged, crash_at is None))
        return found, labels

    found, labels = attempts([None])
    results = [("no crash", found)]
    for point, label in enumerate(labels, start=1):
        found, _ = attempts([point, 1 + point * 7 % len(labels), None])
        results.append((f"point {point} of {len(labels)}: {label}", found))
    return results
