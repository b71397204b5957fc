"""The journal: what is sent to its socket, what journalctl's output means."""

import os
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from rootless.container.journal import JournalLog, JournalProcess


class Record(NamedTuple):
    id: str = "ab" * 32
    name: str = "web"
    image_name: str = "localhost/x"
    log_options: dict[str, str] = {}  # noqa: RUF012


def fields(entry: bytes) -> dict[str, bytes]:
    """Read one datagram of the native protocol."""
    result = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, separator, value = line.partition(b"=")
        if not separator:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[9 + size :]
        result[name.decode()] = value
    return result


def test_lines_become_entries(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "socket"))
    log = JournalLog(Record(log_options={"tag": "t"}), str(tmp_path / "socket"))  # type: ignore[arg-type]
    log.write("stdout", b"one\n\xfftwo\nrest", 0)
    log.write("stderr", b" end\n", 0)
    entries = [fields(listener.recv(1 << 20)) for _ in range(4)]
    assert [entry["MESSAGE"] for entry in entries] == [b"one", b"\xfftwo", b"rest", b" end"]
    assert ["CONTAINER_PARTIAL_MESSAGE" in entry for entry in entries] == [0, 0, 1, 0]
    assert [entry["PRIORITY"] for entry in entries] == [b"6", b"6", b"6", b"3"]
    assert entries[0]["CONTAINER_NAME"] == b"web"
    assert entries[0]["SYSLOG_IDENTIFIER"] == entries[0]["CONTAINER_TAG"] == b"t"
    listener.close()
    log.close()


def test_what_journalctl_prints_becomes_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "journalctl"
    program.write_text(
        '#!/bin/sh\necho "$@" >&2\n'
        'echo \'{"MESSAGE":"one","PRIORITY":"6","__REALTIME_TIMESTAMP":"1700000000000001"}\'\n'
        'echo \'{"MESSAGE":[255,65],"PRIORITY":"3","CONTAINER_PARTIAL_MESSAGE":"true",'
        '"__REALTIME_TIMESTAMP":"1700000000000002"}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    records = JournalProcess("ab" * 32, follow=False, tail=None).records()
    assert records == [
        b"2023-11-14T22:13:20.000001000+00:00 stdout F one",
        b"2023-11-14T22:13:20.000002000+00:00 stderr P \xffA",
    ]
