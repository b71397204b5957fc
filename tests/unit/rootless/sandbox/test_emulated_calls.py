"""The filters of root emulation, executed by the machine that the kernel would run them on."""

import os
import stat

import pytest

from rootless.sandbox.emulated_calls import AUTO, BPF, FULL, make_filter
from rootless.sandbox.syscall_numbers import AUDIT_ARCH, numbers
from tests.support.bpf_machine import execute, parse

ALLOW, ASK, SUCCEED = 0x7FFF0000, 0x7FC00000, 0x00050000


def verdict(mode: str, call: str, *arguments: int, architecture: str = "x86_64") -> int:
    program = make_filter(mode, "x86_64")
    number = numbers(architecture)[call]
    return execute(parse(program), AUDIT_ARCH[architecture], number, arguments)[0]


@pytest.mark.parametrize("call", ["read", "execve", "openat", "newfstatat", "statx", "chmod"])
def test_what_is_not_emulated_is_not_asked_for(call: str) -> None:
    assert verdict(AUTO, call) == ALLOW


@pytest.mark.parametrize("call", ["chown", "fchownat", "setuid", "getuid", "setgroups", "setxattr"])
def test_ids_and_owners_are_asked_for(call: str) -> None:
    assert verdict(AUTO, call) == ASK


@pytest.mark.parametrize(
    ("call", "expected"),
    [("chown32", ASK), ("fchownat", ASK), ("setresuid32", ASK), ("getuid32", ASK),
     ("setgroups32", ASK), ("setxattr", ASK), ("statx", ASK), ("chown", ALLOW), ("setuid", ALLOW),
     ("stat64", ALLOW), ("read", ALLOW)],
)  # fmt: skip
def test_a_32_bit_program_is_asked_for_what_is_alike(call: str, expected: int) -> None:
    assert verdict(FULL, call, architecture="i386") == expected


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [(AUTO, stat.S_IFCHR, ASK), (AUTO, stat.S_IFBLK, ASK), (AUTO, stat.S_IFIFO, ALLOW),
     (BPF, stat.S_IFCHR, SUCCEED), (BPF, stat.S_IFREG, ALLOW)],
    ids=["char", "block", "pipe", "char-bpf", "file-bpf"],
)  # fmt: skip
def test_only_devices_are_special_nodes(mode: str, kind: int, expected: int) -> None:
    assert verdict(mode, "mknodat", 0, 0, kind | 0o644) == expected


def test_full_asks_for_stat_and_for_what_makes_files() -> None:
    assert verdict(FULL, "newfstatat") == ASK
    assert verdict(FULL, "openat", 0, 0, os.O_RDONLY) == ALLOW
    assert verdict(FULL, "openat", 0, 0, os.O_CREAT | os.O_WRONLY) == ASK


def test_without_a_listener_changes_succeed_and_questions_are_the_kernels() -> None:
    assert verdict(BPF, "chown") == SUCCEED
    assert verdict(BPF, "setgroups") == SUCCEED
    assert verdict(BPF, "getuid") == ALLOW
