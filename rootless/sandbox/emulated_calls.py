"""Which system calls root emulation looks at, as a filter for seccomp(2).

`auto` takes what changes ids, groups and owners, and asks for them; `full` also what tells about
files and what makes them. `bpf` has no one to ask: those calls do nothing and succeed. A call that
is not named here costs nothing but the filter. 32-bit programs get the same, but for what has
another form with them (ids of 16 bits, struct stat64), which is left alone.
"""

import os
import stat

from rootless.sandbox import bpf
from rootless.sandbox.bpf import Block, Compare, Rule
from rootless.sandbox.seccomp_compiler import table_name
from rootless.sandbox.syscall_numbers import AUDIT_ARCH, numbers

AUTO, FULL, BPF, OFF = "auto", "full", "bpf", "off"
MODES = (AUTO, FULL, BPF, OFF)

_ALLOW = 0x7FFF0000
_USER_NOTIF = 0x7FC00000
_SUCCEED = 0x00050000  # SECCOMP_RET_ERRNO with errno 0
_PR_SET_KEEPCAPS = 8
_SOL_SOCKET, _SO_PEERCRED = 1, 17
_LOW = 0xFFFFFFFF
_FORMAT = 0o170000

_OWNERS = ("chown", "lchown", "fchown", "fchownat")
_IDS = ("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid",
        "setfsgid", "setgroups")  # fmt: skip
_ASK_IDS = ("getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups")
_ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr")
_STATS = ("stat", "lstat", "fstat", "newfstatat", "statx")
_MAKERS = ("creat", "mkdir", "mkdirat", "symlink", "symlinkat")


# What a kernel runs besides its own programs.
COMPAT = {"x86_64": "i386", "aarch64": "arm"}
_OTHER_FORM = ("stat", "lstat", "fstat", "newfstatat")


def call_numbers(architecture: str) -> dict[str, int]:
    """Return the numbers of calls by the names that they have with 64 bits, of those alike."""
    known = numbers(architecture)
    if architecture not in COMPAT.values():
        return known
    wide = {name[:-2]: number for name, number in known.items() if name.endswith("32")}
    known = {name: number for name, number in known.items() if name not in _OTHER_FORM}
    return known | wide


def _nodes(action: int) -> dict[str, tuple[Rule, ...]]:
    """mknod(2) of devices; pipes, sockets and plain files can be had."""

    def rules(position: int) -> tuple[Rule, ...]:
        return tuple(
            Rule(action, (Compare(position, "masked", _FORMAT, kind),))
            for kind in (stat.S_IFCHR, stat.S_IFBLK)
        )

    return {"mknod": rules(1), "mknodat": rules(2)}


def intercepted(mode: str) -> dict[str, tuple[Rule, ...]]:
    """Return the calls of a mode; those with an empty tuple whatever their arguments."""
    if mode == BPF:
        always: tuple[Rule, ...] = (Rule(_SUCCEED),)
        calls = dict.fromkeys((*_OWNERS, *_IDS), always)
        return calls | _nodes(_SUCCEED)
    always = (Rule(_USER_NOTIF),)
    calls = dict.fromkeys((*_OWNERS, *_IDS, *_ASK_IDS, *_ATTRIBUTES), always)
    calls |= _nodes(_USER_NOTIF)
    calls["prctl"] = (Rule(_USER_NOTIF, (Compare(0, "masked", _LOW, _PR_SET_KEEPCAPS),)),)
    calls["getsockopt"] = (
        Rule(
            _USER_NOTIF,
            (Compare(1, "masked", _LOW, _SOL_SOCKET), Compare(2, "masked", _LOW, _SO_PEERCRED)),
        ),
    )
    if mode == FULL:
        calls |= dict.fromkeys((*_STATS, *_MAKERS), always)
        for name, position in (("open", 1), ("openat", 2)):
            calls[name] = (
                Rule(_USER_NOTIF, (Compare(position, "masked", os.O_CREAT, os.O_CREAT),)),
            )
    return calls


def make_filter(mode: str, machine: str) -> bytes:
    """Return the program for a mode; `machine` as in uname(2).

    Raises HostError: an architecture without a table.
    """
    native = table_name(machine)
    program = bpf.returning(_ALLOW)
    for architecture in (COMPAT.get(native, ""), native):
        if architecture:
            own = _decide(mode, architecture)
            program = bpf.choose(bpf.EQUAL, AUDIT_ARCH[architecture], own, program)
    return bpf.assemble([(bpf.LOAD, 0, 0, bpf.ARCHITECTURE_OFFSET), *program])


def _decide(mode: str, architecture: str) -> Block:
    known = call_numbers(architecture)
    outcomes: dict[int, Block] = {
        known[name]: bpf.conditional(list(rules), _ALLOW)
        for name, rules in intercepted(mode).items()
        if name in known
    }
    inner = bpf.decide(outcomes, {0: bpf.returning(_ALLOW)})
    return [(bpf.LOAD, 0, 0, bpf.NUMBER_OFFSET), *inner]
