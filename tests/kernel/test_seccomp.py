"""The default filter in the running kernel: what calls answer under it."""

import ctypes
import errno
import mmap
import os
import signal

import pytest

from rootless.linux import syscalls
from rootless.sandbox import capabilities, seccomp, syscall_numbers
from tests.conftest import InAccount

PR_SET_NO_NEW_PRIVS = 38
MACHINE = os.uname().machine
BAD_FD = 0xFFFFFFFF


def install(program: bytes) -> None:
    syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)
    syscalls.install_seccomp_filter(program)


def default() -> bytes:
    return seccomp.default_filter(MACHINE, capabilities.DEFAULT)


def errno_of(number: int, *arguments: int) -> int:
    """Make a system call by its number; 0 for success."""
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *values) < 0 else 0


def native(name: str) -> int:
    return syscall_numbers.numbers(MACHINE)[name]


# name -> arguments with which the call does nothing, and its errno without any filter
HARMLESS = {
    "getpid": ((), 0),
    "read": ((BAD_FD,), errno.EBADF),
    "openat2": ((BAD_FD, 0, 0, 0), errno.EINVAL),
    "clone3": ((0, 0), errno.EINVAL),
    "unshare": ((1,), errno.EINVAL),
    "ptrace": ((0xFFFF, 0), errno.ESRCH),
    "statx": ((BAD_FD, 0, 0, 0, 0), errno.EFAULT),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_allowed_calls_reach_the_kernel(in_account: InAccount, name: str) -> None:
    arguments, expected = HARMLESS[name]
    number = native(name)

    def body() -> tuple[int, int]:
        before = errno_of(number, *arguments)
        install(default())
        return before, errno_of(number, *arguments)

    before, after = in_account(body)
    assert after == before
    assert after == expected


@pytest.mark.parametrize(
    "name", ["kexec_load", "swapon", "userfaultfd", "vmsplice", "bpf", "settimeofday", "acct"]
)
def test_denied_calls_answer_eperm(in_account: InAccount, name: str) -> None:
    number = native(name)

    def body() -> int:
        install(default())
        return errno_of(number, BAD_FD, BAD_FD, BAD_FD)

    assert in_account(body) == errno.EPERM


@pytest.mark.parametrize("number", [native("io_uring_setup"), native("add_key"), 480, 1023])
def test_unnamed_calls_do_not_exist(in_account: InAccount, number: int) -> None:
    def body() -> int:
        install(default())
        return errno_of(number)

    assert in_account(body) == errno.ENOSYS


@pytest.mark.parametrize(
    ("family", "protocol", "expected"),
    [
        pytest.param(1, 0, 0, id="unix"),
        pytest.param(16, 9, errno.EINVAL, id="audit"),
        pytest.param(16 | 1 << 32, 9, errno.EINVAL, id="audit-with-a-high-bit"),
        pytest.param(38, 0, errno.EAFNOSUPPORT, id="alg"),
        pytest.param(40, 0, errno.EAFNOSUPPORT, id="vsock"),
    ],
)
def test_socket_families(in_account: InAccount, family: int, protocol: int, expected: int) -> None:
    def body() -> int:
        install(default())
        return errno_of(native("socket"), family, 1 if family == 1 else 3, protocol)

    assert in_account(body) == expected


def test_personality_is_asked_but_not_changed(in_account: InAccount) -> None:
    no_randomize = 0x0040000

    def body() -> tuple[int, int]:
        install(default())
        number = native("personality")
        return errno_of(number, 0xFFFFFFFF), errno_of(number, no_randomize)

    assert in_account(body) == (0, errno.ENOSYS)


def test_a_filter_outlives_exec_and_fork(in_account: InAccount) -> None:
    def body() -> str:
        install(default())
        with os.popen("grep ^Seccomp: /proc/self/status") as pipe:
            return pipe.read().split()[1]

    assert in_account(body) == "2"


# mov eax,edi; mov ebx,esi; mov ecx,edx; int 0x80, with rbx kept: the 32-bit ABI in a 64-bit process
_INT80 = bytes.fromhex("53 89f8 89f3 89d1 cd80 5b c3".replace(" ", ""))


def int80(number: int, first: int = 0, second: int = 0) -> int:
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_INT80)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)(address)
    return -min(0, int(call(number, first, second)))


def needs_int80() -> None:
    if MACHINE != "x86_64":
        pytest.skip("int 0x80 is an instruction of x86_64")
    pid = os.fork()
    if pid == 0:
        int80(20)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        pytest.skip(f"this kernel has no IA32_EMULATION ({signal.Signals(status & 127).name})")


def test_32_bit_calls_are_filtered_by_their_own_numbers(in_account: InAccount) -> None:
    needs_int80()
    table = syscall_numbers.numbers("i386")

    def body() -> list[int]:
        install(default())
        return [
            int80(table["getpid"]),
            int80(table["read"], BAD_FD),
            int80(table["swapon"]),
            int80(table["settimeofday"]),
            int80(table["io_uring_setup"]),
            int80(1000),
        ]

    expected = [0, errno.EBADF, errno.EPERM, errno.EPERM, errno.ENOSYS, errno.ENOSYS]
    # getpid returns a positive number: no error
    assert in_account(body) == expected


def test_a_profile_for_one_architecture_kills_the_other(in_account: InAccount) -> None:
    needs_int80()
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    def body() -> int:
        program = seccomp.compile_profile(profile, MACHINE, (), os.uname().release)
        pid = os.fork()
        if pid == 0:
            install(program)
            int80(20)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_account(body) == -signal.SIGSYS


def test_every_architecture_of_the_host_has_a_filter_that_the_kernel_takes(
    in_account: InAccount,
) -> None:
    """The kernel checks a program without asking which architecture it is for."""

    def body() -> int:
        for machine in ("x86_64", "aarch64", "i686", "armv7l"):
            seccomp_filter = seccomp.default_filter(machine, capabilities.NAMES)
            pid = os.fork()
            if pid == 0:
                install(seccomp_filter)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            # A filter for another machine kills its process at the next call, once it is installed.
            assert status in (0, -signal.SIGSYS), (machine, status)
        return 1

    assert in_account(body) == 1
