"""Benchmarks compute the same on both sides, and a run of one leaves the tables of the others."""

import pytest

from benchmarks import __main__ as bench
from benchmarks import challenge


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Fewer rows and resamples, and a results page of the test's own."""
    monkeypatch.setattr(challenge, "ROWS", 3000)
    monkeypatch.setattr(challenge, "DRAWN", 60)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "RESULTS.md")


def test_both_sides_of_a_comparison_say_the_same():
    for row in challenge.run():
        ours, theirs = (_interval(text) for text in (row.ours_answer, row.peer_answer))
        width = ours[1] - ours[0]
        assert all(abs(a - b) < 0.35 * width for a, b in zip(ours, theirs, strict=True)), row


def _interval(text):
    return tuple(float(part) for part in text.strip("[]").split(","))


def test_a_run_writes_its_table_and_keeps_those_of_others():
    bench.RESULTS.write_text("# Old\n\n## drift\n\nkept as it was\n\n## challenge\n\nreplaced\n")
    assert 0 == bench.main(["challenge"])
    page = bench.RESULTS.read_text()
    assert ["challenge", "drift"] == list(bench.read_sections(page))
    assert "kept as it was" == bench.read_sections(page)["drift"]
    assert "replaced" not in page
    assert "| delong" in bench.read_sections(page)["challenge"]


def test_an_unknown_benchmark_is_named(capsys):
    assert 2 == bench.main(["speed"])
    assert "Unknown benchmark 'speed'. Known: challenge." in capsys.readouterr().err
