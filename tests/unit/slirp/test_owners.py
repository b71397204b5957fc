"""Who holds a port, from a /proc made for the test."""

import os
from pathlib import Path

from slirp.owners import port_owner

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def make_proc(root: Path, *, state: str = "0A", inode: str = "777") -> str:
    (root / "net").mkdir()
    line = f"   0: 0100007F:1F90 00000000:0000 {state} 0:0 00:0 0 1000 0 {inode} 1\n"
    (root / "net" / "tcp").write_text(HEAD + line)
    descriptors = root / "42" / "fd"
    descriptors.mkdir(parents=True)
    os.symlink("socket:[777]", descriptors / "3")
    (root / "42" / "comm").write_text("httpd\n")
    return str(root)


def test_owner_is_named(tmp_path: Path) -> None:
    assert port_owner("tcp", 8080, proc=make_proc(tmp_path)) == "process 42 (httpd)"


def test_foreign_owner_is_its_uid(tmp_path: Path) -> None:
    proc = make_proc(tmp_path, inode="778")
    assert port_owner("tcp", 8080, proc=proc) == "a process of uid 1000"


def test_connection_is_no_owner(tmp_path: Path) -> None:
    assert port_owner("tcp", 8080, proc=make_proc(tmp_path, state="01")) == ""


def test_free_port_has_no_owner(tmp_path: Path) -> None:
    assert port_owner("tcp", 8081, proc=make_proc(tmp_path)) == ""
