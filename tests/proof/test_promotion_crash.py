"""Crash at every single point of a promotion and a rollback, and at random moments: reconcile always mends it."""

import json
import random
import shutil
import signal
import time

import pytest
from sqlalchemy.engine import make_url

from tests.support.crash_points import enumerate_crashes, labels_of
from tests.support.crashing import CONTEXT, JOBS, ask, build, contend, examine, finish, start, work
from tests.support.stores import create_database, execute

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
RANDOM_KILLS = 50
SEED = 20260301


class Copies:
    """Copies of one template of the stores; the models' files are shared, for nobody writes them."""

    def __init__(self, template, ledger_url, server):
        self._template, self._ledger_url, self._server = template, ledger_url, server

    def make(self, folder):
        """Return (folder, ledger URL) of a fresh copy."""
        folder.mkdir(parents=True)
        shutil.copy(self._template / "mlflow.db", folder)
        if self._server is None:
            shutil.copy(self._template / "ledger.db", folder)
            return str(folder), f"sqlite:///{folder}/ledger.db"
        return str(folder), create_database(self._server, template=make_url(self._ledger_url).database)

    def drop(self, folder, ledger_url):
        shutil.rmtree(folder)
        if self._server is not None:
            execute(self._server, f"DROP DATABASE {make_url(ledger_url).database} WITH (FORCE)")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def copies(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    server, ledger_url = None, f"sqlite:///{folder}/ledger.db"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        ledger_url = create_database(server)
    assert finish(start(build, str(folder), ledger_url)) == 0
    return Copies(folder, ledger_url, server)


def assert_mended(found, *, before, after, where):
    """Check the three looks: at the crash, after reconcile, after a second reconcile."""
    crashed, mended, again = found
    assert crashed["served"] == crashed["aliases"]["champion"], where
    assert crashed["served"] in {before["champion"], after["champion"]}, where
    assert crashed["aliases"].get("fallback") != crashed["aliases"]["champion"], where
    assert set(crashed["pending"]) <= {"crashed"}, where
    moved = crashed["aliases"]["champion"] == after["champion"]
    assert mended["aliases"] == (after if moved else before), where
    assert mended["served"] == mended["aliases"]["champion"], where
    assert mended["aliases"]["fallback"] != mended["aliases"]["champion"], where
    assert (mended["pending"], mended["inconsistencies"]) == ([], []), where
    assert again == mended, where


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_crash_at_every_point_leaves_a_champion_that_loads_and_is_mended(copies, tmp_path, job):
    expected = JOBS[job]
    found = ask(tmp_path, enumerate_crashes, *copies.make(tmp_path / "stores"), job)
    print(f"\n{job}: {len(found) - 1} crash points")
    for where, looks in found:
        assert_mended(looks, **expected, where=where)
    met = " ".join(where for where, _ in found)
    for kind in ("commit", "INSERT INTO evergreen_ledger", "set_registered_model_alias", "delete_registered"):
        assert kind in met
    outcomes = {(looks[0]["served"], bool(looks[0]["pending"])) for _, looks in found}
    old, new = expected["before"]["champion"], expected["after"]["champion"]
    assert outcomes == {(old, False), (old, True), (new, True), (new, False)}
    whole, tags = found[0][1][1], [looks[1]["tags"] for _, looks in found if looks[1]["served"] == new]
    assert [sorted(each) for each in tags] == [sorted(whole["tags"])] * len(tags)
    for each in tags:
        assert archived(each) == archived(whole["tags"])


def archived(tags):
    """Return who is tagged archived and who rolled back from."""
    keys = ("evergreen.archived", "evergreen.rolled_back")
    return {key: {version for version, held in tags.items() if held.get(key) == "true"} for key in keys}


@pytest.mark.parametrize(
    ("job", "label"),
    [
        ("promotion", "after set_registered_model_alias"),
        ("promotion of the fallback", "after delete_registered_model_alias"),
        ("rollback", "before set_model_version_tag"),
    ],
)
def test_a_crash_at_every_point_of_the_reconciling_itself_is_mended_by_the_next(copies, tmp_path, job, label):
    folder, url = copies.make(tmp_path / "labels")
    labels = ask(tmp_path, labels_of, folder, url, job)
    copies.drop(folder, url)
    prelude = (job, labels.index(label) + 1)
    found = ask(tmp_path, enumerate_crashes, *copies.make(tmp_path / "stores"), "reconcile", prelude)
    print(f"\nreconcile after a {job} crashed at {label}: {len(found) - 1} crash points")
    end = found[0][1][1]["aliases"]
    assert end == JOBS[job]["before" if label == "after delete_registered_model_alias" else "after"]
    for where, looks in found:
        assert_mended(looks, before=JOBS[job]["before"], after=JOBS[job]["after"], where=where)
        assert looks[1]["aliases"] == end, where


@pytest.mark.parametrize("job", ["promotion", "rollback"])
def test_a_kill_at_random_moments_is_mended(copies, tmp_path, job):
    rng = random.Random(SEED)
    duration = measure(copies, tmp_path / "whole", job)
    served = set()
    for number in range(RANDOM_KILLS // 2):
        folder, url = copies.make(tmp_path / str(number))
        started = CONTEXT.Event()
        process = start(work, folder, url, job, started)
        assert started.wait(120)
        time.sleep(rng.uniform(0, 1.1 * duration))
        process.kill()
        assert finish(process) in {0, -signal.SIGKILL}
        looks = ask(folder, examine, folder, url)
        assert_mended(looks, **JOBS[job], where=f"{job}, random kill {number}")
        served.add(looks[0]["served"])
        copies.drop(folder, url)
    assert served == {JOBS[job]["before"]["champion"], JOBS[job]["after"]["champion"]}


def measure(copies, folder, job):
    """Return how long a job takes from its start to its end, in seconds."""
    folder, url = copies.make(folder)
    started = CONTEXT.Event()
    process = start(work, folder, url, job, started)
    assert started.wait(120)
    begun = time.monotonic()
    assert finish(process) == 0
    copies.drop(folder, url)
    return time.monotonic() - begun


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_simultaneous_promotions_exactly_one_wins(copies, tmp_path, attempt):
    folder, url = copies.make(tmp_path / "stores")
    barrier, paths = CONTEXT.Barrier(2), [tmp_path / "one.json", tmp_path / "two.json"]
    versions = (4, 2)
    runners = [
        start(contend, folder, url, version, barrier, answer=path)
        for version, path in zip(versions, paths, strict=True)
    ]
    assert [finish(runner) for runner in runners] == [0, 0]
    answers = [tuple(json.loads(path.read_text())) for path in paths]
    assert sorted(state for state, _ in answers) == ["Blocked", "Promoted"]
    refused = next(code for state, code in answers if state == "Blocked")
    assert refused in {"lock_held", "champion_moved"}
    winner = versions[[state for state, _ in answers].index("Promoted")]
    looks = ask(tmp_path, examine, folder, url)
    assert looks[0]["aliases"]["champion"] == winner
    assert looks[0] == looks[1]
    assert looks[0]["inconsistencies"] == []
