"""Detach keys and raw mode."""

import itertools
import os
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.terminal import DetachKeys, RawTerminal, parse_detach_keys, size_of
from rootless.errors import UsageError
from rootless.linux.terminal import set_window_size

letters = st.sampled_from([97, 98, 99])
typed_bytes = st.lists(letters, max_size=30).map(bytes)
key_sequences = st.lists(letters, min_size=1, max_size=5).map(bytes)


def model(keys: bytes, typed: bytes) -> tuple[bytes, bool]:
    """Say what is passed on in all: everything before the keys, or all but a beginning of them."""
    place = typed.find(keys)
    if place >= 0:
        return typed[:place], True
    held = max(n for n in range(len(keys)) if typed.endswith(keys[:n]))
    return typed[: len(typed) - held], False


@given(keys=key_sequences, typed=typed_bytes, cuts=st.lists(st.integers(0, 30), max_size=6))
def test_keys_are_found_however_they_arrive(keys: bytes, typed: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(typed)) for cut in cuts} | {0, len(typed)})
    looking = DetachKeys(keys)
    passed, left = b"", False
    for begin, end in itertools.pairwise(places):
        more, left = looking.feed(typed[begin:end])
        passed += more
        if left:
            break
    assert (passed, left) == model(keys, typed)


@given(typed=st.binary(max_size=30))
def test_without_keys_everything_is_passed_on(typed: bytes) -> None:
    assert DetachKeys(b"").feed(typed) == (typed, False)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a", b"a"),
        ("a,b,c", b"abc"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("ctrl-a,Z,1", b"\x01Z1"),
        ("", b""),
    ],
)
def test_detach_keys_as_typed(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-pp", "ab", ",", "a,", "é", "shift-a"])
def test_wrong_detach_keys_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="invalid detach keys"):
        parse_detach_keys(text)


def test_raw_mode_is_undone_on_the_way_out() -> None:
    master, slave = os.openpty()
    try:
        before = termios.tcgetattr(slave)
        with pytest.raises(KeyError), RawTerminal(slave):
            mode = termios.tcgetattr(slave)
            assert not mode[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
            assert not mode[1] & termios.OPOST
            raise KeyError
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_size_is_that_of_the_terminal() -> None:
    master, slave = os.openpty()
    try:
        set_window_size(master, 33, 101)
        assert size_of(slave) == (33, 101)
    finally:
        os.close(master)
        os.close(slave)


def test_what_is_no_terminal_has_no_size() -> None:
    reader, writer = os.pipe()
    assert size_of(reader) == (0, 0)
    os.close(reader)
    os.close(writer)
