"""Renamed words of a model's YAML are rewritten where they stand; everything else stays as it was."""

import pytest

from evergreen.tasks.core.config.renamed import migrate_text

OLD = """\
# The model of the rides.
model: rides   # clip: not a key
data: {source: "a.csv", value: fare, target: y}

live:
  # a test is short
  longest: 5d      # longest: a week's work
  "follow_up": 2d
  clip: .95
drift:
  policy: 'literal'
description: |
  live:
    longest: 5d
promotion:
    path: ab
"""
NEW = """\
# The model of the rides.
model: rides   # clip: not a key
data: {source: "a.csv", value_column: fare, target: y}

live:
  # a test is short
  max_duration: 5d      # longest: a week's work
  label_delay: 2d
  winsorize: .95
drift:
  policy: fixed_thresholds
description: |
  live:
    longest: 5d
promotion:
    evidence: ab
"""


def test_old_words_are_replaced_and_comments_order_and_layout_stay():
    text, edits = migrate_text(OLD)
    assert NEW == text
    assert [
        (3, "data.value", "data.value_column"),
        (7, "live.longest", "live.max_duration"),
        (8, "live.follow_up", "live.label_delay"),
        (9, "live.clip", "live.winsorize"),
        (11, "drift.policy: literal", "drift.policy: fixed_thresholds"),
        (16, "promotion.path", "promotion.evidence"),
    ] == [(edit.line, edit.old, edit.new) for edit in edits]


def test_what_is_up_to_date_is_left():
    assert (NEW, ()) == migrate_text(NEW)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- a\n- b\n", "live:\n", "live: 5d\n", "live:\n  - longest\n"]
)
def test_what_holds_no_keys_is_left(text):
    assert (text, ()) == migrate_text(text)


def test_lines_that_end_as_on_windows_and_letters_of_many_bytes_are_kept():
    text, _ = migrate_text("description: Über – ☃\r\nlive:\r\n  longest: 5d\r\n")
    assert "description: Über – ☃\r\nlive:\r\n  max_duration: 5d\r\n" == text


def test_words_that_anchors_share_are_replaced_once_and_the_anchors_stay():
    text, edits = migrate_text("retraining: {preset: &p literal}\ndrift: {policy: *p}\n")
    assert "retraining: {preset: &p fixed_thresholds}\ndrift: {policy: *p}\n" == text
    assert ["retraining.preset: literal", "drift.policy: literal"] == [edit.old for edit in edits]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("live: {<<: {longest: 3d}}\n", "live: {<<: {max_duration: 3d}}\n"),
        (
            "live:\n  <<: [{longest: 3d}, {clip: .9}]\n",
            "live:\n  <<: [{max_duration: 3d}, {winsorize: .9}]\n",
        ),
        ("drift: {policy: !!str literal}\n", "drift: {policy: !!str fixed_thresholds}\n"),
    ],
)
def test_merged_keys_and_tagged_values_are_replaced(before, after):
    assert after == migrate_text(before)[0]
