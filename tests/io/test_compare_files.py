"""``evergreen drift``: two plain files, whatever is in them."""

import ast
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evergreen.deployments.cli.app import run
from tests.support.commands import command

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"column", "kind", "psi", "kl", "js", "ks", "p_value", "adjusted_p_value", "drifted"}


def rows(n, seed=0, *, shift=0.0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": rng.gamma(2, 10, n) * (1 + shift),
            "age": rng.integers(18, 80, n),
            "plan": rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1]),
        }
    )


@pytest.fixture
def files(tmp_path):
    """Return a function that writes two frames and runs the command on them."""

    def compare(reference, current, *options, ending="csv"):
        paths = [tmp_path / f"{name}.{ending}" for name in ("reference", "current")]
        for path, frame in zip(paths, (reference, current), strict=True):
            if isinstance(frame, str):
                path.write_text(frame)
            elif ending == "csv":
                frame.to_csv(path, index=False)
            else:
                frame.to_parquet(path)
        return command("drift", *paths, *options)

    return compare


def says(answer):
    return {one["column"]: one["drifted"] for one in answer.json["columns"]}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_shift_is_found_and_the_rest_is_not_called_drift(files, ending):
    answer = files(rows(4_000), rows(800, 1, shift=0.6), ending=ending)
    assert (0, "Drift", ["drift"]) == (answer.exit_code, answer.state, answer.codes), answer
    assert {"amount": True, "age": False, "plan": False} == says(answer)
    assert all(set(one) >= KEYS for one in answer.json["columns"])
    assert ["numeric", "numeric", "categorical"] == [one["kind"] for one in answer.json["columns"]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_no_drift_is_quiet(files, ending):
    answer = files(rows(4_000), rows(800, 1), ending=ending)
    assert (0, "NoDrift", ["quiet"]) == (answer.exit_code, answer.state, answer.codes), answer


def test_csv_and_parquet_of_the_same_rows_say_the_same(files):
    sides = rows(2_000), rows(500, 1, shift=0.3)
    assert files(*sides).json["columns"] == files(*sides, ending="parquet").json["columns"]


def test_the_order_of_rows_and_columns_changes_nothing(files):
    sides = rows(2_000), rows(500, 1, shift=0.3)
    shuffled = sides[1].sample(frac=1, random_state=0)[["plan", "amount", "age"]]
    first, second = files(*sides).json["columns"], files(sides[0], shuffled).json["columns"]
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other, abs=1e-9)


def test_rows_given_twice_have_the_same_distribution(files):
    sides = rows(2_000), rows(500, 1)
    once, twice = files(*sides), files(sides[0], pd.concat([sides[1]] * 2))
    for name in ("ks", "js", "total_variation"):
        values = [[one[name] for one in answer.json["columns"]] for answer in (once, twice)]
        assert values[0] == pytest.approx(values[1], abs=1e-12)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(("n", "code"), [(0, "no_rows"), (1, "too_few_rows"), (19, "too_few_rows")])
def test_few_rows_are_insufficient_on_either_side(files, ending, n, code):
    for sides in ((rows(500), rows(500, 1)[:n]), (rows(500)[:n], rows(500, 1))):
        answer = files(*sides, ending=ending)
        assert (0, "InsufficientData", [code]) == (answer.exit_code, answer.state, answer.codes), answer
        assert {None} == set(says(answer).values())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["amount", "plan"])
def test_a_column_of_nulls_is_insufficient_on_either_side(files, ending, name):
    nothing = rows(500, 1).assign(**{name: None})
    for sides in ((rows(500), nothing), (nothing, rows(500))):
        answer = files(*sides, ending=ending)
        assert (0, "InsufficientData", ["all_null"]) == (answer.exit_code, answer.state, answer.codes), answer
        assert says(answer)[name] is None
        assert name in answer.said


def test_a_column_of_nulls_on_both_sides_is_left_out(files):
    answer = files(rows(500).assign(extra=None), rows(500, 1).assign(extra=None))
    assert ("NoDrift", ["extra"]) == (answer.state, list(answer.json["skipped"]))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_numbers_that_became_text_are_never_no_drift(files, ending):
    answer = files(rows(500), rows(500, 1).assign(amount="many"), ending=ending)
    assert (0, "InsufficientData", ["type_changed"]) == (answer.exit_code, answer.state, answer.codes), answer
    assert "amount" not in says(answer)
    assert "numbers" in answer.json["changed"]["amount"]
    assert "amount" in answer.said


def test_text_that_became_numbers_is_unseen_categories(files):
    answer = files(rows(500), rows(500, 1).assign(plan=7))
    assert "Drift" == answer.state
    assert 1.0 == next(one for one in answer.json["columns"] if one["column"] == "plan")["unseen"]


def test_numbers_with_a_word_among_them_are_named(files):
    mixed = rows(500, 1).astype({"amount": object})
    mixed.loc[7, "amount"] = "n/k"
    answer = files(rows(500), mixed)
    assert (0, "InsufficientData") == (answer.exit_code, answer.state), answer
    assert {"amount": "mixes numbers and text now"} == answer.json["unreadable"]


def test_lost_and_new_columns_are_named_and_never_no_drift(files):
    answer = files(rows(500), rows(500, 1).rename(columns={"age": "years"}))
    assert (0, "InsufficientData") == (answer.exit_code, answer.state), answer
    assert (["lost_column", "new_column"], ["age"], ["years"]) == (
        answer.codes,
        answer.json["lost"],
        answer.json["new"],
    )
    assert {"amount", "plan"} == set(says(answer))


def test_times_and_row_names_are_left_out_and_said(files):
    def dated(frame):
        names = [f"row {place}" for place in range(len(frame))]
        return frame.assign(at=pd.date_range("2024", periods=len(frame), freq="h"), name=names)

    answer = files(dated(rows(500)), dated(rows(500, 1)))
    assert ("NoDrift", {"at", "name"}) == (answer.state, set(answer.json["skipped"]))


def test_lists_are_left_out_and_a_change_to_or_from_them_is_never_no_drift(files):
    listed = rows(500, 1).assign(tags=[["a", "b"]] * 500)
    assert ("NoDrift", ["tags"]) == (
        (answer := files(listed, listed, ending="parquet")).state,
        list(answer.json["skipped"]),
    )
    for sides in ((listed, rows(500).assign(tags="a")), (rows(500).assign(tags="a"), listed)):
        answer = files(*sides, ending="parquet")
        assert ("InsufficientData", ["type_changed"]) == (answer.state, answer.codes), answer


def test_infinite_values_booleans_and_constants_are_taken(files):
    def odd(n, seed):
        return rows(n, seed).assign(flag=np.arange(n) % 3 == 0, same=4.0, far=[np.inf, *range(n - 1)])

    answer = files(odd(500, 0), odd(500, 1))
    assert (0, "NoDrift") == (answer.exit_code, answer.state), answer
    assert {"flag", "same", "far"} <= set(says(answer))


def test_an_index_that_pandas_stored_is_no_column(files):
    answer = files(rows(500)[100:], rows(500, 1)[50:], ending="parquet")
    assert {"amount", "age", "plan"} == set(says(answer))


def test_columns_can_be_chosen(files):
    sides = rows(500), rows(500, 1)
    assert ["age"] == list(says(files(*sides, "--columns", "age")))
    assert ["amount", "plan"] == list(says(files(*sides, "--exclude", "age")))
    answer = files(*sides, "--categorical", "age")
    assert "categorical" == answer.json["columns"][1]["kind"]


def test_a_name_that_is_nowhere_is_wrong_input(files):
    for option in ("--columns", "--exclude", "--categorical"):
        answer = files(rows(50), rows(50), option, "amuont")
        assert (2, "InputError") == (answer.exit_code, answer.state)
        assert "Did you mean 'amount'?" in answer.err


def test_files_without_a_common_column_are_wrong_input(files):
    answer = files(rows(50), rows(50).add_prefix("x_"))
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert "no column in common" in answer.err


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n", "\x00\x01"])
def test_what_is_no_table_is_wrong_input(files, text):
    answer = files(rows(50), text)
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert "current.csv" in answer.err


def test_a_missing_file_is_wrong_input(tmp_path):
    answer = command("drift", tmp_path / "no.csv", tmp_path / "neither.csv")
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert "no.csv" in answer.err


@pytest.mark.parametrize("options", [("--significance", "1.5"), ("--psi", "-1")])
def test_levels_that_cannot_be_are_wrong_input(files, options):
    assert 2 == files(rows(50), rows(50), *options).exit_code


def test_levels_decide(files):
    sides = rows(4_000), rows(2_000, 1, shift=0.15)
    assert files(*sides, "--psi", "0.9").state == "NoDrift"
    assert files(*sides, "--psi", "0.005").state == "Drift"


class Addresses(HTMLParser):
    """Collects scripts and addresses of a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [tag] if tag in {"script", "link", "iframe"} else []
        self.found += [value for name, value in attrs if name in {"src", "href"}]


def test_the_page_opens_offline_names_everything_and_escapes_it(files, tmp_path):
    hostile = "<script>alert(1)</script>"
    sides = [frame.rename(columns={"plan": hostile}) for frame in (rows(800), rows(400, 1, shift=0.8))]
    path = tmp_path / "pages" / "drift.html"
    answer = files(sides[0].assign(gone=1), sides[1].replace({hostile: {"pro": hostile}}), "--html", path)
    page = path.read_text()
    parser = Addresses()
    parser.feed(page)
    assert [] == parser.found
    assert str(path) == answer.json["html"]
    assert all(word in page for word in ("amount", "age", "gone", "&lt;script&gt;", "Drift", "<svg"))
    assert len(page) < 200_000


@pytest.mark.parametrize("n", [0, 1])
def test_the_page_of_nothing_to_judge_is_a_page(files, tmp_path, n):
    files(rows(300), rows(300)[:n], "--html", tmp_path / "page.html")
    assert "InsufficientData" in (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_is_wrong_input(files, tmp_path):
    (tmp_path / "taken").write_text("")
    answer = files(rows(50), rows(50), "--html", tmp_path / "taken" / "page.html")
    assert (2, "InputError") == (answer.exit_code, answer.state)


def test_people_read_a_table_and_one_sentence(tmp_path, capsys):
    for name, frame in (("a", rows(2_000)), ("b", rows(500, 1, shift=0.6))):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    assert 0 == run(["drift", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    lines = capsys.readouterr().out.strip().splitlines()
    assert "amount" in lines[1]  # what moved most comes first
    assert "Drift: 1 of 3 columns drifted: amount." == lines[-1]


def test_the_command_starts_without_servers_and_their_libraries(tmp_path):
    for name, frame in (("a", rows(300)), ("b", rows(300, 1))):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    script = (
        "import sys\nfrom evergreen.deployments.cli.app import run\n"
        f"assert 0 == run(['drift', {str(tmp_path / 'a.parquet')!r}, {str(tmp_path / 'b.parquet')!r}, '--json'])\n"
        "print(sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "NoDrift" == json.loads(done.stdout)["state"]
    loaded = {name.partition(".")[0] for name in ast.literal_eval(done.stderr.strip().splitlines()[-1])}
    assert set() == loaded & {"prefect", "mlflow", "evidently", "great_expectations", "matplotlib", "sklearn"}


def test_a_database_is_refused_with_what_can_be_compared_instead(tmp_path, capsys):
    pd.DataFrame({"x": [1.0, 2.0]}).to_csv(tmp_path / "rows.csv", index=False)
    assert 2 == run(["drift", str(tmp_path / "rows.csv"), "postgresql://me:secret@host/db", "--json"])
    (reason,) = json.loads(capsys.readouterr().out)["reasons"]
    assert reason["message"].endswith("Write them to a Parquet or CSV file, and compare that.")
    assert "secret" not in reason["message"]
