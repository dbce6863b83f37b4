"""The page of a promotion or rollback."""

from datetime import UTC, datetime

from evergreen.tasks.core.promotion.history import ChampionPeriod
from evergreen.tasks.core.promotion.registry_state import promotion_markdown
from evergreen.tasks.core.verdict import Reason, StageResult, State


def test_the_page_names_the_champion_why_and_the_champions_before():
    result = StageResult(
        state=State.CHAMPION_RESTORED,
        model="fraud",
        version=1,
        reasons=(Reason(code="rolled_back", message="a | b\nc"),),
        details={
            "champion": 1,
            "fallback": None,
            "settled": [
                {"plan_id": "fraud/plans/9", "kind": "promotion", "version": 3, "outcome": "abandoned"}
            ],
        },
    )
    march, april = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    history = [
        ChampionPeriod(version=1, since=None, until=march, how="outside", reason="found"),
        ChampionPeriod(
            version=2,
            since=march,
            until=april,
            how="promotion",
            reason="better",
            evidence="fraud/decisions/3",
        ),
        ChampionPeriod(version=1, since=april, how="rollback", reason="worse"),
    ]
    assert promotion_markdown(result, history).splitlines() == [
        "## fraud: ChampionRestored",
        "",
        "@champion: 1 · @fallback: absent",
        "",
        "- `rolled_back` a \\| b c",
        "- abandoned the promotion to version 3 that a crash left (fraud/plans/9)",
        "",
        "| version | since | until | how | why | evidence |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 1 | 2026-04-01T00:00:00+00:00 | now | rollback | worse | none |",
        "| 2 | 2026-03-01T00:00:00+00:00 | 2026-04-01T00:00:00+00:00 | promotion | better | fraud/decisions/3 |",
        "| 1 | unknown | 2026-03-01T00:00:00+00:00 | outside | found | none |",
    ]
