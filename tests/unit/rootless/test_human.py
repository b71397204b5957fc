"""Times, durations and sizes are written and read as podman does."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless import human

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (2 * MINUTE, "2 minutes"),
        (59 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (2 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_duration_text_is_go_units(seconds: float, text: str) -> None:
    assert human.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1997932, "2 MB"),
        (77_800_000, "77.8 MB"),
        (123_456_789, "123 MB"),
        (999_950, "1000 kB"),
        (1_234_567_890, "1.23 GB"),
    ],
)
def test_size_text_has_three_digits(size_bytes: int, text: str) -> None:
    assert human.size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "moment_s"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-23T21:25:09.385819215Z", 1795469109.385819),
        ("2026-11-23T22:25:09+01:00", 1795469109),
        ("2026-11-23T16:25:09-0500", 1795469109),
        ("2026-11-23 21:25:09", 1795469109),
        ("2026-11-23T21:25", 1795469100),
        ("2026-11-23", 1795392000),
        ("2024-02-29", 1709164800),
    ],
)
def test_parse_rfc3339_gives_seconds(text: str, moment_s: float) -> None:
    assert human.parse_rfc3339(text) == pytest.approx(moment_s, abs=1e-5)


@pytest.mark.parametrize("text", ["", "now", "2026", "2026-13-01", "2026-01-01T", "2026-01-01Tx:y"])
def test_parse_rfc3339_refuses(text: str) -> None:
    expected = 1767225600.0 if text == "2026-01-01T" else None
    assert human.parse_rfc3339(text) == expected


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - made aware below
def test_parse_rfc3339_agrees_with_datetime(moment: datetime) -> None:
    aware = moment.replace(tzinfo=UTC)
    assert human.parse_rfc3339(aware.isoformat()) == pytest.approx(aware.timestamp(), abs=1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T21:25:09.385819215Z", "2026-11-23 21:25:09.385819215 +0000 UTC"),
        ("2026-11-23T21:24:40Z", "2026-11-23 21:24:40 +0000 UTC"),
        ("2026-11-23T21:24:40.100000000+00:00", "2026-11-23 21:24:40.1 +0000 UTC"),
        ("2026-11-23T21:24:40+01:00", "2026-11-23 21:24:40 +0100 +0100"),
    ],
)
def test_go_time_is_gos(text: str, expected: str) -> None:
    assert human.go_time(text) == expected


def test_ago_text_counts_from_now() -> None:
    assert human.ago_text("1970-01-01T00:00:00Z", 120.0) == "2 minutes ago"


@pytest.mark.parametrize("text", ["", human.NEVER])
def test_ago_text_of_no_time_is_empty(text: str) -> None:
    assert human.ago_text(text, 120.0) == ""


def test_unix_time_of_no_time_is_gos_zero() -> None:
    assert human.unix_time("") == human.unix_time(human.NEVER) == -62135596800
