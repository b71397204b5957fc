"""Errors of a start name the real cause and the next step, with podman's exit codes."""

import os
import tempfile

import pytest

from tests.support.command import Command


def put(path: str, data: bytes, mode: int = 0o755) -> None:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def elf(machine: int, loader: bytes = b"") -> bytes:
    """Return the start of a 64-bit ELF program with, when named, a loader."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little")
    head += machine.to_bytes(2, "little") + (1).to_bytes(4, "little") + bytes(8)
    head += (64).to_bytes(8, "little") + bytes(8) + bytes(4)
    head += (64).to_bytes(2, "little") + (56).to_bytes(2, "little") + (2).to_bytes(2, "little")
    head = head.ljust(64, b"\0")
    name = loader + b"\0"
    interp = (3).to_bytes(4, "little") + (4).to_bytes(4, "little")
    interp += (64 + 112).to_bytes(8, "little") + bytes(16) + len(name).to_bytes(8, "little") * 2
    interp += (1).to_bytes(8, "little")
    load = (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(8)
    load += (0x400000).to_bytes(8, "little") * 2 + (300).to_bytes(8, "little") * 2
    load += (0x1000).to_bytes(8, "little")
    return (head + interp + load + name).ljust(300, b"\0")


OWN = 62 if os.uname().machine == "x86_64" else 183


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    ("data", "mode", "code", "told"),
    [
        (b"echo hello\n", 0o755, 126, "#!"),
        (b"", 0o755, 126, "empty"),
        (b"#!/bin/sh\n", 0o644, 126, "execute permission (mode 0644)"),
        (b"#!/usr/bin/missing -x\n", 0o755, 127, '"/usr/bin/missing" is not in the image'),
        (b"#!/bin/sh\r\necho\r\n", 0o755, 127, "carriage return"),
        (b"MZ\x90\0", 0o755, 126, "Windows"),
        (elf(OWN, b"/lib64/ld-linux-x86-64.so.2"), 0o755, 127, "glibc"),
        (elf(OWN, b"/lib/ld-musl-x86_64.so.1"), 0o755, 127, "musl"),
        (elf(22), 0o755, 126, "s390x"),
    ],
    ids=["no-shebang", "empty", "mode", "interpreter", "crlf", "windows", "glibc", "musl", "other"],
)
def test_command_that_cannot_run_says_why(
    rpod: Command, image: str, account_dir: str, data: bytes, mode: int, code: int, told: str
) -> None:
    put(f"{account_dir}/program", data, mode)
    os.chown(f"{account_dir}/program", rpod.account.uid, rpod.account.gid)
    volume = f"{account_dir}/program:/program"
    done = rpod("run", "--rm", "-v", volume, image, "/program", check=False)
    assert done.code == code, done.told
    assert told in done.err, done.told
    rpod("run", "-d", "--name", "c", "-v", volume, image, "sleep", "60")
    done = rpod("exec", "c", "/program", check=False)
    assert done.code == code, done.told
    assert told in done.err, done.told


def test_directory_is_no_command(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", image, "/etc", check=False)
    assert done.code == 126, done.told


@pytest.mark.rpod_only
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a directory of somebody else")
def test_mount_that_is_out_of_reach_names_the_directory(rpod: Command, image: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        os.makedirs(f"{top}/shut/deep")
        volume = f"{top}/shut/deep:/d"
        rpod("create", "--name", "c", "-v", volume, image, "true")
        os.chmod(f"{top}/shut", 0o700)
        for command in (("start", "-a", "c"), ("run", "--rm", "-v", volume, image, "true")):
            done = rpod(*command, check=False)
            assert done.code == 125, done.told
            assert f"{top}/shut" in done.err
            assert f"chmod o+x {top}/shut" in done.err, done.told


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sysctl", "kernel.panic=1"), "belongs to the host"),
        (("--sysctl", "net.ipv4.no_such=1"), "no such setting"),
        (("--sysctl", "net.ipv4.ip_forward=frob"), "does not take this value"),
        (("-p", "80:80"), "ip_unprivileged_port_start"),
    ],
)
def test_what_the_host_refuses_is_explained(
    rpod: Command, image: str, options: tuple[str, ...], told: str
) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if "-p" in options and int(file.read()) <= 80:
            pytest.skip("any user may use port 80 here")
    done = rpod("run", "--rm", *options, image, "true", check=False)
    assert done.code == 125, done.told
    assert told in done.err, done.told
