"""Small texts that become numbers: ulimits, signals, the OOM score."""

import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.limits import clamp_oom_score, make_rlimits, parse_signal, signal_name
from rootless.errors import UsageError

UNLIMITED = 2**64 - 1


def rlimits(*texts: str) -> dict[str, tuple[object, object]]:
    return {str(e["type"]): (e["soft"], e["hard"]) for e in make_rlimits(texts)}


def test_open_files_and_processes_are_limited_from_the_start() -> None:
    assert set(rlimits()) == {"RLIMIT_NOFILE", "RLIMIT_NPROC"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("core=0", ("RLIMIT_CORE", 0, 0)),
        ("nofile=10:20", ("RLIMIT_NOFILE", 10, 20)),
        ("NOFILE=10", ("RLIMIT_NOFILE", 10, 10)),
        ("RLIMIT_CPU=5:6", ("RLIMIT_CPU", 5, 6)),
    ],
)
def test_ulimit_as_typed(text: str, expected: tuple[str, int, int]) -> None:
    kind, soft, hard = expected
    assert rlimits(text)[kind] == (soft, hard)


@pytest.mark.parametrize("word", ["-1", "unlimited"])
def test_unlimited_is_the_largest_number(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (-1, -1))
    assert rlimits(f"core={word}")["RLIMIT_CORE"] == (UNLIMITED, UNLIMITED)


def test_the_last_one_for_a_kind_counts() -> None:
    assert rlimits("core=1", "core=2:3")["RLIMIT_CORE"] == (2, 3)


def test_host_takes_all_of_the_caller() -> None:
    assert rlimits("host") == {}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert rlimits("nofile=host")["RLIMIT_NOFILE"] == (soft % 2**64, hard % 2**64)


@pytest.mark.parametrize(
    "text",
    ["", "core", "core=", "core=x", "core=1:", "core=:1", "core=-2", "bogus=1", "=1", "core=2:1",
     "core=1:2:3", "core=" + "9" * 5000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_wrong_ulimits_are_usage_errors(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (-1, -1))
    if text == "core=1:":
        assert rlimits(text)["RLIMIT_CORE"] == (1, 1)
        return
    with pytest.raises(UsageError, match="ulimit"):
        rlimits(text)


def test_more_than_the_caller_may_is_refused_with_what_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (100, 500))
    with pytest.raises(UsageError, match="hard limit is 500") as caught:
        rlimits("nofile=600")
    assert "nofile=500:500" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15), ("SIGTERM", 15), ("sigterm", 15), ("15", 15), ("SIG15", 15), ("HUP", 1),
        ("RTMIN", signal.SIGRTMIN), ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-2", signal.SIGRTMAX - 2), ("64", 64),
    ],
)  # fmt: skip
def test_signal_as_typed(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "65", "SIG", "_DFL", "SIG_IGN", "RTMIN-1", "RTMIN+99", "RTMAX+1", "RTMAX-99",
     "BOGUS", "NAL", "1.5", "9" * 5000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_wrong_signals_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="invalid signal"):
        parse_signal(text)


@given(number=st.integers(1, 64))
def test_every_signal_has_a_name_that_is_read_back(number: int) -> None:
    assert parse_signal(str(number)) == number
    assert parse_signal(signal_name(number)) == number


@pytest.mark.parametrize(("wanted", "own", "given_"), [(5, 0, 5), (-5, 0, 0), (100, 200, 200)])
def test_oom_score_is_not_below_ones_own(
    tmp_path: Path, wanted: int, own: int, given_: int
) -> None:
    path = tmp_path / "score"
    path.write_text(f"{own}\n")
    assert clamp_oom_score(wanted, str(path)) == given_


def test_oom_score_without_proc_is_at_least_zero() -> None:
    assert clamp_oom_score(-7, "/nonexistent") == 0


@pytest.mark.parametrize("wanted", [-1001, 1001])
def test_oom_score_out_of_range_is_a_usage_error(wanted: int) -> None:
    with pytest.raises(UsageError):
        clamp_oom_score(wanted)
