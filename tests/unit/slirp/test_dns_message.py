"""Queries of containers are read without trust, and answered as RFC 1035 has it."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirp.dns_message import (
    AAAA,
    NAME_ERROR,
    A,
    BadQuery,
    Query,
    answer,
    answers_to,
    encode_name,
    failure,
    parse_query,
    with_identity,
)


def ask(name: str, kind: int = A, *, identity: int = 7, flags: int = 0x0100) -> bytes:
    header = struct.pack("!HHHHHH", identity, flags, 1, 0, 0, 0)
    return header + encode_name(name) + struct.pack("!HH", kind, 1)


def test_name_is_read_in_lower_case() -> None:
    assert parse_query(ask("Web.DNS.podman", AAAA))[:4] == (7, 0x0100, "web.dns.podman", AAAA)


def test_answer_repeats_the_question() -> None:
    query = parse_query(ask("web"))
    reply = answer(query, [b"\x0a\x59\x00\x02"])
    assert reply[:12] == struct.pack("!HHHHHH", 7, 0x8580, 1, 1, 0, 0)
    assert reply[12 : 12 + len(query.question)] == query.question
    assert reply.endswith(struct.pack("!HHHIH", 0xC00C, A, 1, 0, 4) + b"\x0a\x59\x00\x02")


def test_answer_fits_into_a_datagram() -> None:
    query = parse_query(ask(".".join(["a" * 62] * 4)))
    assert len(answer(query, [bytes(4)] * 100)) <= 512


def test_failure_has_its_code() -> None:
    assert failure(parse_query(ask("web")), NAME_ERROR)[3] & 15 == NAME_ERROR


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (ask("a", flags=0x8100), None),
        (ask("a", flags=0x2900), 4),
        (struct.pack("!HHHHHH", 1, 0, 2, 0, 0, 0) + ask("a")[12:] * 2, 1),
        (struct.pack("!HHHHHH", 1, 0, 0, 0, 0, 0), 1),
        (struct.pack("!HHHHHH", 1, 0, 1, 1, 0, 0) + ask("a")[12:], 1),
        (ask("a")[:-1], 1),
        (ask("a")[:13], 1),
        (ask("a")[:12] + b"\xc0\x0c\0\1\0\1", 1),
        (ask("a")[:12] + b"\x3f" + b"a" * 10, 1),
        (ask("a")[:12] + b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 5, 1),
        (ask("a")[:12] + b"\x03a.b\0\0\1\0\1", 1),
    ],
    ids=["empty", "short", "an answer", "other opcode", "two questions", "no question",
         "an answer in it", "cut off", "cut in the name", "pointer", "label beyond the end",
         "name too long", "dot in a label"],
)  # fmt: skip
def test_bad_query_is_refused(data: bytes, code: int | None) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_query(data)
    if code is None:
        assert caught.value.reply == b""
    else:
        assert caught.value.reply[3] & 15 == code


@given(st.binary(max_size=600))
def test_any_bytes_are_a_query_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadQuery):
        assert isinstance(parse_query(data), Query)


@given(st.binary(max_size=100))
def test_any_bytes_of_a_server_are_taken_or_left(data: bytes) -> None:
    assert answers_to(parse_query(ask("web")), 7, data) in (True, False)


def test_answer_of_another_question_is_left() -> None:
    query = parse_query(ask("web"))
    assert answers_to(query, 7, answer(query, []))
    assert not answers_to(query, 8, answer(query, []))
    assert not answers_to(query, 7, answer(parse_query(ask("mail")), []))
    assert not answers_to(query, 7, ask("web"))
    assert with_identity(ask("web"), 0x1234)[:2] == b"\x12\x34"
