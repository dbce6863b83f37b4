"""Benchmarks compute the same on both sides, and a run of one leaves the tables of the others."""

import json
from functools import partial

import pytest

from benchmarks import __main__ as bench
from benchmarks import challenge, drift, drift_child, drift_exact, drift_files, starting
from benchmarks.starting_home import CommandCost, Home

SMALL = partial(challenge.run, rows=3000, drawn=60)


@pytest.fixture
def page(tmp_path):
    """A results page of the test's own."""
    return tmp_path / "RESULTS.md"


def test_both_sides_of_a_comparison_say_the_same():
    for row in SMALL():
        ours, theirs = (_interval(text) for text in (row.ours_answer, row.peer_answer))
        width = ours[1] - ours[0]
        assert all(abs(a - b) < 0.35 * width for a, b in zip(ours, theirs, strict=True)), row


def _interval(text):
    return tuple(float(part) for part in text.strip("[]").split(","))


def test_a_run_writes_its_table_and_keeps_those_of_others(page):
    page.write_text("# Old\n\n## drift\n\nkept as it was\n\n## challenge\n\nreplaced\n")
    assert 0 == bench.main(["challenge"], results=page, benchmarks=bench.BENCHMARKS | {"challenge": SMALL})
    text = page.read_text()
    assert ["challenge", "drift"] == list(bench.read_sections(text))
    assert "kept as it was" == bench.read_sections(text)["drift"]
    assert "replaced" not in text
    assert "| delong" in bench.read_sections(text)["challenge"]


def test_an_unknown_benchmark_is_named(capsys):
    assert 2 == bench.main(["speed"])
    assert "Unknown benchmark 'speed'. Known: challenge, drift, serving." in capsys.readouterr().err


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two small files, and what both our sides made of them."""
    folder = tmp_path_factory.mktemp("drift")
    drift_files.write_pair(folder, rows=20_000, columns=25)
    drift_child.SIDES["reference"](folder)
    return folder, drift_child.SIDES["ours"](folder)


def test_the_drift_benchmark_finds_the_columns_that_drift_and_reads_all_rows(pair):
    folder, drifted = pair
    found = {each["column"] for each in json.loads((folder / "ours.json").read_text()) if each["drifted"]}
    assert {"n000", "n012"} == found
    assert 2 == drifted
    assert 20_000 == drift_child.SIDES["scan"](folder) == drift_child.SIDES["scan_lean"](folder)


def test_the_drift_benchmark_compares_with_all_rows_and_fails_where_a_bound_is_broken(pair, tmp_path):
    folder, _ = pair
    exact = drift_exact.compare(folder)
    assert 8 <= exact["columns"]
    assert 0.0 < exact["ks"] <= exact["ks_bound"] <= 0.02
    for key, wrong in (("ks", 0.9), ("psi", 0.9)):
        measured = json.loads((folder / "ours.json").read_text())
        for side in ("reference", "current"):
            (tmp_path / f"{side}.parquet").write_bytes((folder / f"{side}.parquet").read_bytes())
        (tmp_path / "ours.json").write_text(json.dumps([{**each, key: wrong} for each in measured]))
        with pytest.raises(AssertionError, match="n000"):
            drift_exact.compare(tmp_path)


def test_a_missed_bar_is_said():
    costs = {"ours": 1.0, "scan": 0.5, "scan_lean": 0.5, "evidently": 160.0}
    made = {side: drift.ScanCost(cpu_s=cpu, peak_mb=100.0, answer=1) for side, cpu in costs.items()}
    page = drift._bars(made, {"columns": 8, "ks": 0.0, "ks_bound": 0.0, "psi": 0.0})
    assert "bare scan: 2.00, bar at most 1.5: MISSED" in page
    assert "CPU, Evidently / ours: 160.00, bar at least 150: held" in page
    assert "memory, Evidently / ours: 1.00, bar at least 10: MISSED" in page


def test_another_size_leaves_the_results_page_as_it_is(page, capsys):
    sizes = []
    runs = bench.BENCHMARKS | {"drift": lambda **size: sizes.append(size) or "a table"}
    page.write_text("as it was")
    assert 0 == bench.main(["drift", "--rows", "500"], results=page, benchmarks=runs)
    assert [{"rows": 500}] == sizes
    assert "as it was" == page.read_text()
    assert "a table" in capsys.readouterr().out


def test_the_cost_of_a_process_is_its_own():
    said, cpu = drift._child(["-c", "x = sum(range(10**6)); print(x)"])
    assert "499999500000" == said.strip()
    assert cpu > 0
    with pytest.raises(RuntimeError, match="exit code 3"):
        drift._child(["-c", "raise SystemExit(3)"])


def test_costs_of_starting_stand_beside_those_of_another_version():
    costs = [
        CommandCost(cpu_s=cpu, smoke_s=0.5, wall_s=9.0, exit_code=0, answer={"state": "Held"})
        for cpu in (1, 7, 2)
    ]
    now = {"with servers": {"pause": [cost.to_dict() for cost in costs]}}
    before = {"with servers": {"pause": [{"cpu_s": 11.0, "wall_s": 12.0}]}}
    assert "| pause | with | 2.00 | 0.50 | 9.00 | Held |" == starting.table(now).splitlines()[-1]
    assert (
        "| pause | with | 2.00 | 0.50 | 9.00 | Held | 11.00 | 12.00 |"
        == starting.table(now, before).splitlines()[-1]
    )


def test_a_command_of_a_home_is_measured_with_its_answer_and_fails_loudly(tmp_path):
    cost = Home(folder=tmp_path).spend("down", "--json")
    assert (0, True, 0) == (cost.exit_code, cost.cpu_s > 0, cost.smoke_s)
    assert "Down" == cost.answer["state"] == cost.to_dict()["state"]
    with pytest.raises(SystemExit, match="evergreen due nobody failed"):
        Home(folder=tmp_path).spend("due", "nobody")
