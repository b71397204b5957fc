"""Durations and times as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.moments import parse_duration, parse_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("500ms", 0.5), ("0s", 0),
     ("1d1h1m1s", 90061), (".5s", 0.5), ("-5s", -5), ("+1m", 60), ("2w", 1209600), ("5us", 5e-6)],
)  # fmt: skip
def test_duration_as_typed(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5x", "5s5", "1..5s", ".s", "5 s", "-", "--5s", "٣s", "²s", "5sm"]
)
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1h", 6400.0),
        ("1700000000", 1700000000.0),
        ("1700000000.5", 1700000000.5),
        ("2023-11-14T22:13:20Z", 1700000000.0),
        ("2023-11-14T22:13:20+00:00", 1700000000.0),
        ("2023-11-15T00:13:20+02:00", 1700000000.0),
        ("2023-11-14T22:13:20.500000000Z", 1700000000.5),
    ],
)
def test_moment_as_typed(text: str, moment: float) -> None:
    assert parse_moment(text, 10_000.0) == pytest.approx(moment)


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf", "-inf", "1e400", "2023-13-01"])
def test_what_is_no_moment(text: str) -> None:
    assert parse_moment(text, 0.0) is None


@given(text=st.text("0123456789smhd.-+:TZ e", max_size=14))
def test_any_text_is_a_moment_that_can_be_written_or_nothing(text: str) -> None:
    from rootless.container.logfile import timestamp

    moment_s = parse_moment(text, 1_700_000_000.0)
    if moment_s is not None:
        assert len(timestamp(int(moment_s * 1e9))) == len("2026-01-31T12:00:00.000000000+00:00")
