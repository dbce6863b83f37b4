"""What a replay leaves in Prefect, in MLflow and in the terminal: sentences, tables, numbers by name."""

import json
import re

import pytest
import yaml

from evergreen.tasks.core.log_items import Json, Metrics, Params, Text
from evergreen.tasks.core.reports.replay_page import (
    decision_rows,
    policy_yaml,
    replay_items,
    replay_markdown,
    replay_rows,
    search_headline,
)
from evergreen.tasks.core.reports.replay_summary import ReplayDocument, headline, opened_alarms
from evergreen.tasks.core.verdict import State
from tests.support.replays import (
    CAUSE,
    NOTE,
    hold_decision,
    policy,
    replay_document,
    search_document,
    start_decision,
    usual_document,
)

NAN = float("nan")
MLFLOW = re.compile(r"[0-9A-Za-z_\-. /]+")


def said(result):
    return headline(ReplayDocument.from_dict(result))


def numbers(items):
    """Return the last value of each metric by name."""
    return {name: value for item in items if isinstance(item, Metrics) for name, value in item.values.items()}


def test_the_headline_names_the_best_and_how_configured_stands_to_it_and_to_every():
    assert [
        "The best of 3 policies by mean roc_auc (higher is better): every, 0.85 with 4 retrainings.",
        "configured reaches 0.83, 0.02 (2.35%) behind the best, with 2 retrainings.",
        "Against every, which refits at each window, configured comes to 97.6% of its mean with 2 against 4 "
        "retrainings (50%).",
    ] == said(usual_document())[:3]


def test_never_is_beaten_only_by_more_than_chance():
    sure = replay_document(policy("configured", [0.9, 0.91, 0.9]), policy("never", [0.8, 0.8, 0.8]))
    unsure = replay_document(policy("configured", [0.9, 0.7, 0.85]), policy("never", [0.8, 0.8, 0.8]))
    worse = replay_document(policy("configured", [0.7, 0.71, 0.7]), policy("never", [0.8, 0.8, 0.8]))
    assert "configured beats never by 0.1033 a window (95 % [0.09" in said(sure)[-1]
    assert "configured cannot be told from never: +0.01667 a window, positive is better" in said(unsure)[-1]
    assert "configured is worse than never by 0.09667 a window" in said(worse)[-1]


def test_a_policy_that_changes_nothing_does_not_beat_never():
    same = replay_document(policy("configured", [0.8, NAN]), policy("never", [0.8, NAN]))
    assert "configured does not beat never: it has the same values in every window." == said(same)[-1]
    assert (
        "never, 0.8 with 0 retrainings; configured comes to the same mean"
        in said(
            replay_document(
                policy(
                    "configured",
                    [0.8],
                    changes={0: {"decision": start_decision(), "state": State.CHAMPION_KEPT}},
                ),
                policy("never", [0.8]),
            )
        )[0]
    )


def test_an_error_is_told_as_one():
    once = {0: {"decision": start_decision(), "state": State.PROMOTED}}
    result = replay_document(
        policy("configured", [11.0, 11.0, 11.5], metric="rmse", changes=once),
        policy("never", [14.0, 14.0, 15.0], metric="rmse"),
        policy("every", [10.0, 10.0, 10.0], metric="rmse", state=State.PROMOTED),
    )
    best, mine, every, never = said(result)
    assert "(lower is better): every, 10 with 3 retrainings." in best
    assert "configured reaches 11.17, 1.167 (11.67%) behind the best, with 1 retraining." == mine
    assert "1.117 times its error with 1 against 3 retrainings (33%)" in every
    assert "configured beats never by 3.167 a window" in never


def test_the_last_label_is_said_plainly_where_it_beats_every_model_on_accuracy():
    plain = "'Same as the last label', which needs no model, beats every policy on accuracy: 0.9 against 0.72 of every."
    assert plain == said(usual_document())[-1]
    modest = usual_document(baseline=policy("same_as_last", [0.5, 0.5, 0.5, 0.5], accuracy=0.71, version=0))
    assert not any("last label" in line for line in said(modest))
    errors = replay_document(
        policy("never", [3.0, 4.0], metric="rmse"),
        baseline=policy("same_as_last", [2.0, 2.5], metric="rmse", version=0),
    )
    assert "beats every policy on rmse: 2.25 against 3.5 of never." in said(errors)[-1]


def test_the_table_holds_every_policy_and_the_baseline_in_golden_numbers():
    page = replay_markdown(usual_document())
    for line in (
        "| policy | mean roc_auc [95 %] | accuracy | worst (window) | windows | retrainings | promotions | refused | "
        "alarms | seconds | regret |",
        "| configured | 0.83 [0.7619, 0.8981] | 0.7 | 0.8 (2025-01-01 to 2025-01-02) | 4 | 2 | 1 | 1 | 1 | 2.0 "
        "| 0.02 |",
        "| every | 0.85 [0.8041, 0.8959] | 0.72 | 0.82 (2025-01-01 to 2025-01-02) | 4 | 4 | 4 | 0 | 0 | 2.0 | 0 |",
        "| same as last label | 0.5 [0.5, 0.5] | 0.9 | 0.5 (2025-01-01 to 2025-01-02) | 4 | – | – | – | – | – | – |",
        "| configured | 2 | 0.83 | 0.02 | yes |",
    ):
        assert line in page.splitlines()


def test_undefined_windows_are_counted_and_leave_no_number():
    page = replay_markdown(
        replay_document(
            policy("configured", [12.0, NAN, 10.0], metric="rmse"), policy("never", [NAN] * 3, metric="rmse")
        )
    )
    assert "| configured | 11 [2.015, 19.98] | 12 (2025-01-01 to 2025-01-02) | 2 (1 undefined) |" in page
    assert "| never | – | – | 0 (3 undefined) | 0 | 0 | 0 | 0 | 1.5 | – |" in page
    assert "Undefined windows are left out of each mean." in page
    assert "nan" not in page.lower()


def test_a_replay_without_any_value_says_so():
    nothing = replay_document(policy("never", [NAN, NAN]))
    assert ["No policy has a value of roc_auc in any window."] == said(nothing)
    assert "nan" not in replay_markdown(nothing).lower()


def test_a_single_policy_is_enough():
    page = replay_markdown(replay_document(policy("never", [0.5])))
    assert "The one policy by mean roc_auc (higher is better): never, 0.5 with 0 retrainings." in page
    assert "Means over 1 window;" in page


def test_notes_and_the_address_of_the_run_stand_below():
    page = replay_markdown(usual_document(notes=[NOTE]), run_url="http://mlflow/#/x")
    assert f"- {NOTE.message}" in page
    assert "[replay.html in MLflow](http://mlflow/#/x)" in page


def test_names_cannot_break_the_table_or_pass_as_html():
    page = replay_markdown(replay_document(policy("<b>|x", [0.5, 0.6])))
    assert r"| \<b>\|x | 0.55" in page
    assert "<b>" not in page.replace(r"\<b>", "")


def test_rows_are_flat_and_the_baseline_has_no_effort():
    rows = replay_rows(usual_document())
    mine, last = rows[0], rows[-1]
    assert ["configured", "never", "every", "same as last label"] == [row["policy"] for row in rows]
    # low: mean .83; long-run variance (11 + 2.75)e-4 / 4 * 4/3, its root times t(.975, 3) = 3.1824 is .068132
    assert (0.83, 0.761868, 2, 1, 1, 0.02, True) == tuple(
        mine[name] for name in ("mean", "low", "retrainings", "promotions", "refused", "regret", "front")
    )
    assert (None, None, False, 0.9) == tuple(
        last[name] for name in ("retrainings", "regret", "front", "accuracy")
    )
    assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
    json.dumps(rows, allow_nan=False)


def test_metrics_have_names_that_mlflow_takes_and_a_step_a_window():
    result = replay_document(policy("periodic:30d", [0.5, NAN, 0.7]), policy("a@b", [0.5, 0.5, 0.5]))
    items = list(replay_items(result, "<p>"))
    found_ = numbers(items)
    assert all(MLFLOW.fullmatch(name) for name in found_)
    assert (0.6, 1.0) == (pytest.approx(found_["periodic_30d_mean"]), found_["periodic_30d_undefined"])
    name = "periodic_30d_roc_auc_by_window"
    steps = [
        (item.step, item.values[name]) for item in items if isinstance(item, Metrics) and name in item.values
    ]
    assert [(1, 0.5), (3, 0.7)] == steps


def test_policies_whose_plain_names_meet_are_logged_apart():
    values = numbers(replay_items(replay_document(policy("a:b", [0.5]), policy("a@b", [0.7])), "<p>"))
    assert (0.5, 0.7) == (values["a_b_mean"], values["a_b_2_mean"])


def test_parameters_documents_and_the_page_are_logged():
    items = list(replay_items(usual_document(), "<p>page"))
    (params,) = (item.values for item in items if isinstance(item, Params))
    assert {
        "policies": "configured,never,every",
        "start": "2025-01-01T00:00:00+00:00",
        "windows": 4,
        "metric": "roc_auc",
    } == params
    documents = {item.path: item.content for item in items if isinstance(item, Json | Text)}
    assert {"replay.json", "replay.html", "replay.md"} == set(documents)
    assert (usual_document(), "<p>page") == (documents["replay.json"], documents["replay.html"])


def test_a_search_leaves_its_document_and_lines_that_can_be_pasted():
    items = list(replay_items(usual_document(), "<p>", search_document()))
    documents = {item.path: item.content for item in items if isinstance(item, Json | Text)}
    assert search_document() == documents["search.json"]
    assert {"retraining": {"every": "6d"}} == yaml.safe_load(documents["policy.yaml"])
    assert "#   every: 3d" in documents["policy.yaml"]
    assert "```yaml\n# trial-2: roc_auc 0.87 with 6 retrainings" in documents["replay.md"]


def test_the_search_says_whether_the_best_one_beats_configured_on_the_part_not_seen():
    assert search_headline(search_document(), sign=1).endswith(
        "2 are on the front. Best on the part not seen (from 2025-03-01): trial-2, 0.86 with 4 retrainings; that is "
        "better than configured, 0.84 with 5 retrainings there."
    )
    assert "): trial-1, 0.83" in search_headline(search_document(better=False), sign=1)
    assert "no better than configured" in search_headline(search_document(better=False), sign=1)


def test_a_search_that_chose_nothing_has_nothing_to_paste():
    empty = {**search_document(), "chosen": []}
    assert "nothing to paste" in policy_yaml(empty, sign=1)
    assert yaml.safe_load(policy_yaml(empty, sign=1)) is None
    assert "```" not in replay_markdown(usual_document(), search=empty)


def test_neighbours_held_for_the_same_reason_are_one_line_and_every_start_has_its_own():
    start = {"decision": start_decision(CAUSE), "state": State.CHAMPION_KEPT, "made": 2}
    changes = {0: {"decision": hold_decision()}, 1: {"decision": hold_decision()}, 2: start, 3: start}
    rows = list(decision_rows(policy("configured", [0.5] * 4, changes=changes).to_dict()))
    assert (
        "2025-01-02 to 2025-01-03 (2 windows)",
        "hold",
        "–",
        "–",
        "Nothing asks for a retraining.",
    ) == rows[0]
    assert ("2025-01-04", "start", "data age", "ChampionKept (version 2)", "age moved.") == rows[1]
    assert 3 == len(rows)


def test_an_alarm_is_marked_where_a_kind_of_drift_begins():
    levels = ["quiet", "drift", "drift", "quiet", "drift"]
    changes = {place: {"level": level} for place, level in enumerate(levels)}
    assert [(1, ["data"]), (4, ["data"])] == opened_alarms(
        policy("never", [0.5] * 5, changes=changes).to_dict()
    )
