"""Kill a writing monitor at every single point, its databases being made included, and many at random moments."""

import pytest

from tests.support.crashing import ask, finish, start
from tests.support.stores import create_database
from tests.support.window_crash import enumerate_window_crashes, expected_after, found_in, monitor_killed

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"])


@pytest.mark.parametrize("migrated", [True, False], ids=["made before", "made by it"])
@STORES
def test_a_monitor_killed_at_every_point_judges_each_window_exactly_once(store, migrated, tmp_path, request):
    server = None
    if store == "postgres":
        server = request.getfixturevalue("postgres_server").render_as_string(hide_password=False)
    count = 4 if migrated else 2
    found = ask(tmp_path, enumerate_window_crashes, str(tmp_path / "stores"), server, count, migrated)
    print(f"\n{store}: {len(found) - 1} crash points")
    met = " ".join(where for where, _ in found)
    wanted = ["INSERT INTO evergreen_ledger", "INSERT INTO windows", "commit"]
    for kind in wanted if migrated else [*wanted, "CREATE TABLE"]:
        assert kind in met
    assert [(where, state) for where, state in found if state != expected_after(count)] == []


@STORES
def test_four_monitors_killed_again_and_again_judge_each_window_exactly_once(store, tmp_path, request):
    urls = tuple(f"sqlite:///{tmp_path}/{name}.db" for name in ("ledger", "log"))
    if store == "postgres":
        urls = (create_database(request.getfixturevalue("postgres_server")),) * 2
    found_in(*urls)
    paths = [tmp_path / f"{number}.json" for number in range(4)]
    runners = [start(monitor_killed, urls, 40, number, answer=path) for number, path in enumerate(paths)]
    assert [finish(runner) for runner in runners] == [0] * 4
    kills = sum(int(path.read_text()) for path in paths)
    print(f"\n{store}: {kills} kills")
    assert kills > 20
    assert found_in(*urls) == expected_after(40)
