"""A live test whose creation or end dies after any single write, and is run again: paid once, ended once."""

import pytest

from tests.support.live_crash import JOBS, Theatre, expected

WRITES = {
    "create": ("ab created", "alpha look", "traffic set", "ab begun"),
    "create by hand": ("ab created", "alpha look", "traffic set", "ab begun"),
    "promote": (
        "plans planned",
        "set_alias champion",
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
def theatre(request, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    return Theatre(tmp_path, url, monkeypatch)


@pytest.mark.parametrize("job", list(JOBS))
def test_what_died_after_any_write_is_finished_once_by_the_next_run(theatre, job):
    labels = theatre.labels(job)
    assert [one for one in WRITES[job] if f"after {one}" not in labels] == []
    found = {f"{point} {label}": theatre.run(job, point) for point, label in enumerate(labels, start=1)}
    assert {point: left for point, left in found.items() if left != expected(job)} == {}


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", list(JOBS))
def test_what_died_twice_after_any_two_writes_is_finished_once_by_the_next_run(theatre, job):
    points = range(1, len(theatre.labels(job)) + 1)
    found = {(first, then): theatre.run(job, first, then) for first in points for then in points}
    assert {deaths: left for deaths, left in found.items() if left != expected(job)} == {}
