"""A machine for classic BPF as seccomp uses it: linux/filter.h, net/core/filter.c."""

import struct

MAX_STEPS = 4096


class BadProgramError(Exception):
    """The kernel would refuse the program."""


def parse(program: bytes) -> list[tuple[int, int, int, int]]:
    """Return the instructions, checked as the kernel checks them before it takes a program."""
    if not program or len(program) % 8:
        raise BadProgramError("not whole instructions")
    code = list(struct.iter_unpack("=HBBI", program))
    if len(code) > MAX_STEPS:
        raise BadProgramError("too long")
    for here, (operation, yes, no, constant) in enumerate(code):
        left = len(code) - here - 1
        if operation == 0x05 and constant >= left:
            raise BadProgramError("jump out of the program")
        if operation in (0x15, 0x25, 0x35, 0x45) and max(yes, no) >= left:
            raise BadProgramError("branch out of the program")
        if operation == 0x20 and (constant % 4 or constant >= 64):
            raise BadProgramError("load outside of seccomp_data")
    if code[-1][0] != 0x06:
        raise BadProgramError("does not end in a return")
    return [(operation, yes, no, constant) for operation, yes, no, constant in code]


def execute(
    code: list[tuple[int, int, int, int]], audit: int, number: int, arguments: tuple[int, ...] = ()
) -> tuple[int, int]:
    """Return (action, instructions executed) for one system call."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, audit, 0, *padded)
    here = accumulator = steps = 0
    while True:
        operation, yes, no, constant = code[here]
        here += 1
        steps += 1
        if operation == 0x06:
            return constant, steps
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, constant)[0]
        elif operation == 0x54:
            accumulator &= constant
        elif operation == 0x05:
            here += constant
        elif operation == 0x15:
            here += yes if accumulator == constant else no
        elif operation == 0x25:
            here += yes if accumulator > constant else no
        elif operation == 0x35:
            here += yes if accumulator >= constant else no
        else:
            raise BadProgramError(f"operation {operation:#x}")
