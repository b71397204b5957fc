"""Requests are read strictly: what two readers could understand differently is refused."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.service import http
from rootless.service.http import Body, ClientGone, Connection, HttpError, parse_head


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Connection]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Connection(theirs)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nA : b", 400),
        (b"GET / HTTP/1.1\r\n folded: b", 400),
        (b"GET / HTTP/1.1\r\nA", 400),
        (b"GET / HTTP/1.1\r\nA: b\nC: d", 400),
        (b"GET / HTTP/1.1\r\nA: b\rC: d", 400),
        (b"GET / HTTP/1.1\r\nA: \0", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/2.0", 400),
        (b"GET /", 400),
        (b"G\xc3\xa4T / HTTP/1.1", 400),
        (b"GET /\xc3 HTTP/1.1", 400),
        (b"GET x HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET /?" + b"&".join(b"a=1" for _ in range(1001)) + b" HTTP/1.1", 400),
    ],
)
def test_malformed_head_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        parse_head(head)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: xchunked",
        b"Content-Length: -1",
        b"Content-Length: +1",
        b"Content-Length: 1, 1",
        b"Content-Length: 0x10",
        b"Content-Length: ",
        b"Content-Length: 99999999999999999999",
        "Content-Length: \u0661".encode(),
    ],
)
def test_ambiguous_length_is_refused(
    pair: tuple[socket.socket, Connection], headers: bytes
) -> None:
    request = parse_head(b"POST / HTTP/1.1\r\n" + headers)
    with pytest.raises(HttpError) as caught:
        Body(pair[1], request)
    assert caught.value.closes


@given(st.binary(max_size=300))
def test_any_head_is_read_or_refused(head: bytes) -> None:
    try:
        parse_head(head)
    except HttpError as error:
        assert error.status == 400


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.binary(max_size=20))
def test_chunked_body_comes_whole_and_nothing_of_what_follows(
    parts: list[bytes], rest: bytes
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(theirs)
        body = Body(connection, parse_head(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked"))
        data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        ours.sendall(data + b"0\r\n\r\n" + rest)
        assert body.read_all() == b"".join(parts)
        assert connection.take_buffer() == rest


@pytest.mark.parametrize("data", [b"x\r\n", b"5\r\nabcdefg\r\n", b"-1\r\n", b"\r\n", b"1" * 5000])
def test_broken_chunks_are_refused(pair: tuple[socket.socket, Connection], data: bytes) -> None:
    ours, connection = pair
    body = Body(connection, parse_head(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked"))
    ours.sendall(data)
    with pytest.raises(HttpError):
        body.read_all()


def test_body_that_breaks_off_is_no_body(pair: tuple[socket.socket, Connection]) -> None:
    ours, connection = pair
    body = Body(connection, parse_head(b"POST / HTTP/1.1\r\nContent-Length: 10"))
    ours.sendall(b"abc")
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(ClientGone):
        body.read_all()


def test_body_larger_than_allowed_is_refused(pair: tuple[socket.socket, Connection]) -> None:
    ours, connection = pair
    body = Body(connection, parse_head(b"POST / HTTP/1.1\r\nContent-Length: 100"))
    ours.sendall(b"a" * 100)
    with pytest.raises(HttpError) as caught:
        body.read_all(limit=99)
    assert caught.value.status == 413


def test_head_that_never_ends_is_refused(
    pair: tuple[socket.socket, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_LIMIT_BYTES", 1000)
    ours, connection = pair
    ours.sendall(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000)
    with pytest.raises(HttpError) as caught:
        connection.read_head()
    assert caught.value.status == 431


def test_head_that_does_not_come_is_given_up(
    pair: tuple[socket.socket, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_HEAD_S", 0.05)
    ours, connection = pair
    ours.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(HttpError) as caught:
        connection.read_head()
    assert caught.value.status == 408
