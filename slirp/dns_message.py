"""DNS messages, as much of them as a network's own names need (RFC 1035, RFC 3596).

Queries come from containers: whatever is not exactly one well-formed question is refused, and a
message is read once from front to back.
"""

import struct

from slirp.record import NamedTuple

A, PTR, AAAA, ANY = 1, 12, 28, 255
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED, REFUSED = 0, 1, 2, 3, 4, 5
# Answers in one message: 24 addresses and the longest name fit into 512 bytes over UDP.
_MOST_ANSWERS = 14
_IN = 1
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
_HEADER = struct.Struct("!HHHHHH")
_TTL_S = 0


class Query(NamedTuple):
    """One question. `name` is in lower case without a last dot; `question` as it came."""

    identity: int
    flags: int
    name: str
    kind: int
    question: bytes


class BadQuery(Exception):
    """Not a question that can be answered; `reply` is what to send back, b"" for nothing."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("bad query")
        self.reply = reply


def parse_query(data: bytes) -> Query:
    """Read a query. Raises BadQuery."""
    if len(data) < _HEADER.size:
        raise BadQuery(b"")
    identity, flags, questions, answers, authorities, _ = _HEADER.unpack_from(data)
    if flags & _QR:
        raise BadQuery(b"")  # an answer: nobody was asked
    if flags & _OPCODE:
        raise BadQuery(_bare(identity, flags, NOT_IMPLEMENTED))
    if questions != 1 or answers or authorities:
        raise BadQuery(_bare(identity, flags, FORMAT_ERROR))
    name, end = _read_name(data, identity, flags)
    if len(data) < end + 4:
        raise BadQuery(_bare(identity, flags, FORMAT_ERROR))
    kind, _ = struct.unpack_from("!HH", data, end)
    return Query(identity, flags, name, kind, data[_HEADER.size : end + 4])


def _read_name(data: bytes, identity: int, flags: int) -> tuple[str, int]:
    labels: list[str] = []
    position = _HEADER.size
    while position < len(data) and position < _HEADER.size + 255:
        length = data[position]
        position += 1
        if length == 0:
            return ".".join(labels), position
        # 3.1: two high bits are a pointer, and there is nothing that a first name could point to.
        if length > 63 or position + length > len(data):
            break
        label = data[position : position + length].decode("latin-1")
        if "." in label:
            break
        labels.append(label.lower())
        position += length
    raise BadQuery(_bare(identity, flags, FORMAT_ERROR))


def _bare(identity: int, flags: int, code: int) -> bytes:
    kept = flags & (_OPCODE | _RD)
    return _HEADER.pack(identity, _QR | _RA | kept | code, 0, 0, 0, 0)


def answer(query: Query, data: "list[bytes]", code: int = NO_ERROR) -> bytes:
    """Return the message with these answers, each the data of one record of the query's type."""
    data = data[:_MOST_ANSWERS]
    flags = _QR | _AA | _RA | (query.flags & _RD) | code
    records = b"".join(
        struct.pack("!HHHIH", 0xC000 | _HEADER.size, query.kind, _IN, _TTL_S, len(entry)) + entry
        for entry in data
    )
    return _HEADER.pack(query.identity, flags, 1, len(data), 0, 0) + query.question + records


def failure(query: Query, code: int = SERVER_FAILURE) -> bytes:
    """Return the message that says why there is no answer; nobody is to take it for the truth."""
    flags = _QR | _RA | (query.flags & _RD) | code
    return _HEADER.pack(query.identity, flags, 1, 0, 0, 0) + query.question


def encode_name(name: str) -> bytes:
    """Return a name as labels; parts that are too long are cut."""
    labels = [label.encode("latin-1", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def answers_to(query: Query, identity: int, data: bytes) -> bool:
    """Whether a message of a server answers the question that was sent with `identity`."""
    if len(data) < _HEADER.size:
        return False
    number, flags, questions = struct.unpack_from("!HHH", data)
    if number != identity or not flags & _QR:
        return False
    # A server that cannot read the question may leave it out.
    asked = data[_HEADER.size : _HEADER.size + len(query.question)]
    return questions == 0 or asked.lower() == query.question.lower()


def with_identity(data: bytes, identity: int) -> bytes:
    """Return the message under another number."""
    return identity.to_bytes(2, "big") + data[2:]
