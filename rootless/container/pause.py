"""The program of an infra container: it holds a pod's namespaces and does nothing else.

It is an ELF file of some 200 bytes that is written when the container is made, so a pod needs no
image, and in memory it is a few pages instead of an interpreter. It blocks HUP, INT, QUIT, TERM and
CHLD, waits for one of them with rt_sigtimedwait(2), reaps children (with a shared pid namespace it
is everybody's process 1), and ends with 0 at any other. Assembled from the text beside the bytes.
"""

import os
import struct

from rootless.errors import HostError

NAME = "pause"
_BASE = 0x400000
_PAGE = 0x1000
_EHDR, _PHDR = 64, 56
_X86_64 = bytes.fromhex(
    "6a00"  # push 0
    "6807400100"  # push 0x14007: the mask, bit N-1 for signal N
    "b80e000000"  # mov eax, 14: rt_sigprocmask
    "31ff"  # xor edi, edi: SIG_BLOCK
    "4889e6"  # mov rsi, rsp
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8
    "0f05"  # syscall
    # wait:
    "b880000000"  # mov eax, 128: rt_sigtimedwait
    "4889e7"  # mov rdi, rsp
    "31f6"  # xor esi, esi
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8
    "0f05"  # syscall
    "83f811"  # cmp eax, 17: SIGCHLD
    "740d"  # je reap
    "85c0"  # test eax, eax
    "7ee3"  # jle wait
    "b8e7000000"  # mov eax, 231: exit_group
    "31ff"  # xor edi, edi
    "0f05"  # syscall
    # reap:
    "b83d000000"  # mov eax, 61: wait4
    "48c7c7ffffffff"  # mov rdi, -1
    "31f6"  # xor esi, esi
    "ba01000000"  # mov edx, 1: WNOHANG
    "4531d2"  # xor r10d, r10d
    "0f05"  # syscall
    "85c0"  # test eax, eax
    "7fe4"  # jg reap
    "ebbc"  # jmp wait
)
_AARCH64 = bytes.fromhex(
    "e00080d22000a0f2000072b2"  # mov x0, 7; movk x0, 1, lsl 16; orr x0, x0, 0x4000: the mask
    "e00f1ff8"  # str x0, [sp, -16]!
    "e81080d2"  # mov x8, 135: rt_sigprocmask
    "000080d2"  # mov x0, 0: SIG_BLOCK
    "e1030091"  # mov x1, sp
    "020080d2030180d2"  # mov x2, 0; mov x3, 8
    "010000d4"  # svc 0
    # wait:
    "281180d2"  # mov x8, 137: rt_sigtimedwait
    "e0030091"  # mov x0, sp
    "010080d2020080d2030180d2"  # mov x1, 0; mov x2, 0; mov x3, 8
    "010000d4"  # svc 0
    "1f440071c0000054"  # cmp w0, 17: SIGCHLD; b.eq reap
    "1f000071edfeff54"  # cmp w0, 0; b.le wait
    "c80b80d2"  # mov x8, 94: exit_group
    "000080d2"  # mov x0, 0
    "010000d4"  # svc 0
    # reap:
    "882080d2"  # mov x8, 260: wait4
    "00008092"  # mov x0, -1
    "010080d2220080d2030080d2"  # mov x1, 0; mov x2, 1: WNOHANG; mov x3, 0
    "010000d4"  # svc 0
    "1f0000712cffff54"  # cmp w0, 0; b.gt reap
    "ebffff17"  # b wait
)
# elf(5): e_machine and the code.
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def program(machine: str) -> bytes:
    """Return the ELF file for a machine as uname(2) calls it. Raises HostError."""
    if machine not in _MACHINES:
        raise HostError(
            f"make the infra container: there is no pause program for {machine}",
            remedy="use --infra-image IMAGE, or --infra=false",
        )
    number, code = _MACHINES[machine]
    start = _EHDR + _PHDR
    header = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 0,  # 64 bits, little endian, version, System V
        2, number, 1, _BASE + start, _EHDR, 0, 0, _EHDR, _PHDR, 1, 0, 0, 0,
    )  # fmt: skip
    size = start + len(code)
    # PT_LOAD, readable and executable: the whole file.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, _PAGE)
    return header + segment + code


def write_pause(directory: str) -> None:
    """Write the program into the root of an infra container. Raises HostError, OSError."""
    data = program(os.uname().machine)
    path = f"{directory}/{NAME}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o555)
    try:
        os.write(fd, data)
        os.fchmod(fd, 0o555)
    finally:
        os.close(fd)
