"""Kill services that write predictions: at every single step, at every system call, and in the middle of a load."""

import pytest

from tests.support.crashing import ask
from tests.support.log_crash import enumerate_log_crashes

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"])


@STORES
def test_killed_at_every_step_nothing_acknowledged_is_lost_and_nothing_is_double(store, tmp_path, request):
    server = None
    if store == "postgres":
        server = request.getfixturevalue("postgres_server").render_as_string(hide_password=False)
    found = ask(tmp_path, enumerate_log_crashes, str(tmp_path / "logs"), server)
    print(f"\n{store}: {len(found) - 1} crash points")
    met = " ".join(where for where, _ in found)
    for step in ("before begin", "after insert_outcomes", "before commit", "after commit", "acknowledged"):
        assert step in met
    assert [(where, wrong) for where, wrong in found if wrong] == []
