"""A live test whose creation or end dies after any single write, and is run again: paid once, ended once."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

import evergreen.flows.ab_test
import evergreen.tasks.ab_test
import evergreen.tasks.challenge
import evergreen.tasks.io.live_tests
import evergreen.tasks.promotion
from evergreen.tasks.ab_test import create_test
from evergreen.tasks.core.ab_testing.checks import measure_maturity
from evergreen.tasks.core.ab_testing.ledger import AB, ABORTED, BEGUN, CONCLUDED, CREATED
from evergreen.tasks.core.challenge.evidence import JUDGEMENT
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.promotion.history import open_plans, untested_plan
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.promotion.plan import CHALLENGER, CHAMPION
from evergreen.tasks.core.verdict import Outcome, StageResult, State, Verdict
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.live_tests import LiveTestResults, abort_test, read_tests
from evergreen.tasks.io.settings import FROZEN
from evergreen.tasks.io.setup import open_setup, record_decision
from evergreen.tasks.io.traffic import read_traffic
from evergreen.tasks.promotion import Promoter
from tests.support.champions import promote_unannounced
from tests.support.dying_command import watch_writes
from tests.support.live_tests import answers, look
from tests.support.memory_stores import MemoryRegistry
from tests.support.processes import Points
from tests.support.training_data import write_model

START = datetime(2026, 6, 1, tzinfo=UTC)
SECTIONS = {
    "promotion": {"evidence": "ab"},
    "live": {"metric": "accuracy", "share": 0.5, "min_improvement": 0.05, "max_duration": "5d"},
}
JOBS = {"create": None, "create by hand": None, "promote": 0.8, "keep": 0.5, "abort": None}
"""What is done, and how often the challenger is right where it is looked at (the champion: 0.65)."""


class Died(BaseException):
    """The process ends here."""


def die(label):
    raise Died(label)


@dataclass(frozen=True)
class Left:
    """What is there in the end."""

    spent: int
    kinds: tuple
    status: str
    aliases: dict
    arms: tuple
    open_plans: int
    unproved: bool
    faults: int


def expected(job):
    """Return what must be left of a job, wherever it died."""
    begun = Left(1, (1, 1, 0), "running", {"champion": 1, "challenger": 2}, ("v2",), 0, False, 0)
    if job.startswith("create"):
        return begun
    over = replace(begun, kinds=(1, 1, 1), status=job, arms=())
    return over if job != "promote" else replace(over, aliases={"champion": 2, "fallback": 1})


class Models:
    """Models without end in one ledger, each with a champion and an admitted challenger."""

    def __init__(self, folder, ledger_url, patch):
        patch.setenv(FROZEN, START.isoformat())
        patch.setenv("EVERGREEN_HOME", str(folder / "home"))
        self._setup = open_setup(str(write_model(folder, **SECTIONS)))
        self.ledger, self.writes, self._made = Ledger(ledger_url), Points(die=die), 0
        self.right, self._patch = None, patch
        self._play()
        watch_writes(self.writes, MemoryRegistry, patch.setattr)

    def run(self, job, *deaths):
        """Do a job on a model of its own, dying at each of these points in turn, then to its end; look at it."""
        setup = self._model(job)
        for number, death in enumerate([*deaths, None]):
            self.writes.arm(death)
            try:
                self._do(job, setup, again=number > 0)
            except Died:
                continue
        self.writes.arm(None)
        return self._look(setup)

    def labels(self, job):
        """Return every point that a job reaches which nothing interrupts."""
        setup = self._model(job)
        self.writes.arm(None)
        self._do(job, setup, again=False)
        return list(self.writes.labels)

    def _do(self, job, setup, *, again):
        self.right = JOBS[job]
        try:
            if job == "abort":
                abort_test(setup, why="It harms.")
            elif job == "create by hand" and not again:
                create_test(setup)
            else:
                self._flow(setup)
        except NotLearnable as error:
            if error.reason_code != "no_live_test":
                raise
        except InputError as error:
            if not again or "is over" not in str(error):
                raise

    def _flow(self, setup):
        self._patch.setattr(evergreen.flows.ab_test, "open_setup", lambda model: setup)
        evergreen.flows.ab_test.ab_test.fn.__wrapped__(setup.model, end=False, dry_run=False)

    def _model(self, job):
        self._made += 1
        registry, name = MemoryRegistry(), f"m{self._made}"
        for number in (1, 2):
            registry.register(
                name, source=f"file:{number}", run_id=None, tags={"validation_status": "approved"}
            )
        stores = SimpleNamespace(registry=registry, ledger=self.ledger, log=None)
        config = self._setup.config.model_copy(update={"model": name})
        setup = replace(self._setup, config=config, stores=stores)
        self.writes.arm(None)
        registry.set_alias(name, CHAMPION, 1)
        registry.set_alias(name, CHALLENGER, 2)
        Promoter(registry, self.ledger, name).reconcile()
        record_decision(setup, JUDGEMENT, StageResult(state=State.READY_FOR_LIVE_TEST, model=name, version=2))
        if not job.startswith("create"):
            create_test(setup)
        return setup

    def _look(self, setup):
        entries = self.ledger.read(model=setup.model)
        kinds = [entry.kind for entry in entries if entry.stream == AB]
        (state,) = read_tests(setup)
        return Left(
            spent=sum(entry.stream == "alpha" for entry in entries),
            kinds=(kinds.count(CREATED), kinds.count(BEGUN), kinds.count(CONCLUDED) + kinds.count(ABORTED)),
            status=state.status,
            aliases=setup.stores.registry.aliases(setup.model),
            arms=tuple(one.name for one in read_traffic(self.ledger, setup.model).plan.variants[1:]),
            open_plans=len(open_plans(entries)),
            unproved=untested_plan(entries) is not None,
            faults=len(check_chain(entries)),
        )

    def _play(self):
        """Let the flow's tasks run as plain functions, proofs pass, and looks see what they are to see."""
        passed = lambda stores: lambda model, version: Verdict(outcome=Outcome.PASS)  # noqa: E731
        for name in ("open_test", "evaluate_test", "judge_test", "close_test"):
            self._patch.setattr(evergreen.tasks.ab_test, name, getattr(evergreen.tasks.ab_test, name).fn)
        self._patch.setattr(evergreen.tasks.ab_test, "report_test", lambda *_: None)
        self._patch.setattr(evergreen.tasks.io.live_tests, "evaluate_now", self._seen)
        for module in (evergreen.tasks.promotion, evergreen.tasks.challenge):
            self._patch.setattr(module, "serving_smoke", passed)
        self._patch.setattr(evergreen.tasks.challenge, "promote_task", promote_unannounced)
        self._patch.setattr(
            evergreen.tasks.ab_test, "reconcile_task", lambda setup: Promoter.of(setup).reconcile()
        )

    def _seen(self, setup, test):
        n, rng = 0 if self.right is None else 4_000, np.random.default_rng(1)
        theirs = rng.random(n) < test.challengers[0].share
        right = rng.random(n) < np.where(theirs, self.right or 0.0, 0.65)
        names = np.where(theirs, test.challengers[0].name, test.control.name).astype(object)
        answered = answers(names, right, positions=test.start + np.arange(n, dtype=float))
        now = test.start + n
        maturity = measure_maturity(np.zeros(0), np.zeros(0), now=now, length=1.0, ages=[1.0])
        return LiveTestResults(analysis=look(test, answered, now=now), maturity=maturity)


WRITES = {
    "create": ("ab created", "alpha look", "traffic set", "ab begun"),
    "create by hand": ("ab created", "alpha look", "traffic set", "ab begun"),
    "promote": (
        "plans planned",
        "set @champion",
        "plans closed",
        "plans smoked",
        "ab concluded",
        "traffic done",
    ),
    "keep": ("ab concluded", "traffic done"),
    "abort": ("ab aborted", "traffic done"),
}
"""What each job must be seen to write."""


@pytest.fixture(params=["sqlite", "postgres"])
def models(request, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    return Models(tmp_path, url, monkeypatch)


@pytest.mark.parametrize("job", list(JOBS))
def test_what_died_after_any_write_is_finished_once_by_the_next_run(models, job):
    labels = models.labels(job)
    assert [one for one in WRITES[job] if f"after {one}" not in labels] == []
    found = {f"{point} {label}": models.run(job, point) for point, label in enumerate(labels, start=1)}
    assert {point: left for point, left in found.items() if left != expected(job)} == {}


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", list(JOBS))
def test_what_died_twice_after_any_two_writes_is_finished_once_by_the_next_run(models, job):
    points = range(1, len(models.labels(job)) + 1)
    found = {(first, then): models.run(job, first, then) for first in points for then in points}
    assert {deaths: left for deaths, left in found.items() if left != expected(job)} == {}
