"""What of an address may be shown, and to whom."""

import pytest

from evergreen.tasks.core.redact import without_places


@pytest.mark.parametrize(
    "place",
    [
        "/run/pg/.s.PGSQL.5432",
        "~/models/m.yaml",
        "s3://bucket/key",
        "postgresql+psycopg://ada:secret@db/x",
        "C:\\models\\m.skops",
        "10.0.0.7:5432",
        "192.168.1.20",
    ],
)
def test_no_place_is_left_in_what_anybody_may_read(place):
    assert "It cannot be read from '…': train anew." == without_places(
        f"It cannot be read from '{place}': train anew."
    )


@pytest.mark.parametrize(
    "said", ["inputs and/or outcomes", "version 1.2.3 of 4", "a ratio of 3/4", "12:30 o'clock"]
)
def test_what_is_no_place_is_left(said):
    assert said == without_places(said)
