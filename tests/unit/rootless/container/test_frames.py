"""The attach protocol: frames come out as they went in, however the stream is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container import frames
from rootless.container.frames import Reader, frame, frame_json, frame_resize

sent = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8)


@given(packets=sent, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_split_gives_the_same_frames(packets: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in packets)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    reader = Reader()
    received = []
    for begin, end in itertools.pairwise(places):
        received += reader.feed(stream[begin:end])
    assert received == packets


def test_a_frame_waits_for_its_last_byte() -> None:
    reader = Reader()
    packet = frame(frames.OUT, b"hello")
    assert reader.feed(packet[:-1]) == []
    assert reader.feed(packet[-1:]) == [(frames.OUT, b"hello")]


def test_a_length_that_nobody_sends_is_refused_before_it_is_waited_for() -> None:
    head = frames.HEADER.pack(frames.IN, frames.MAX_PAYLOAD_BYTES + 1)
    with pytest.raises(ValueError, match="frame of"):
        Reader().feed(head)


def test_the_largest_frame_passes() -> None:
    payload = bytes(frames.MAX_PAYLOAD_BYTES)
    assert Reader().feed(frame(frames.OUT, payload)) == [(frames.OUT, payload)]


def test_structured_frames() -> None:
    data = frame_json(frames.STARTED, {"pid": 5}) + frame_resize(24, 80)
    assert Reader().feed(data) == [
        (frames.STARTED, b'{"pid": 5}'),
        (frames.RESIZE, b"\x00\x18\x00\x50"),
    ]
