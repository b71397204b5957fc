"""Classic BPF programs for seccomp, put together from blocks.

A block is a list of instructions that ends in returns on every way through it, with relative jumps
that stay inside: blocks are joined without renumbering. linux/filter.h, linux/seccomp.h; the
program reads `struct seccomp_data` (number, architecture, instruction pointer, six arguments).
"""

import struct

from rootless.errors import UsageError
from storage.record import NamedTuple

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP = 0x05  # BPF_JMP | BPF_JA
EQUAL = 0x15
GREATER = 0x25
GREATER_EQUAL = 0x35
AND = 0x54  # BPF_ALU | BPF_AND
RETURN = 0x06

# linux/bpf_common.h, BPF_MAXINSNS.
MAX_INSTRUCTIONS = 4096
# The jump fields of one instruction have eight bits.
_MAX_JUMP = 255

NUMBER_OFFSET = 0
ARCHITECTURE_OFFSET = 4
_ARGUMENTS_OFFSET = 16

_LOW = 0xFFFFFFFF

# (code, jump if true, jump if false, constant)
Instruction = tuple[int, int, int, int]
Block = list[Instruction]


class Compare(NamedTuple):
    """One condition on argument 0 to 5; `value_two` matters only for `masked`.

    `operator`: eq ne lt le gt ge, or masked: argument & value == value_two & value.
    """

    argument: int
    operator: str
    value: int
    value_two: int = 0


class Rule(NamedTuple):
    """An action that is taken when all conditions hold; without any it always is."""

    action: int
    conditions: tuple[Compare, ...] = ()


def assemble(block: Block) -> bytes:
    """Return the bytes of the `struct sock_filter` array.

    Raises UsageError: longer than the kernel takes.
    """
    if len(block) > MAX_INSTRUCTIONS:
        raise UsageError(
            f"the seccomp profile needs {len(block)} instructions, the kernel takes "
            f"{MAX_INSTRUCTIONS}",
            remedy="use fewer conditions on arguments, or name fewer system calls",
        )
    pack = struct.Struct("=HBBI").pack
    return b"".join(pack(*instruction) for instruction in block)


def returning(action: int) -> Block:
    """Return the block that ends with an action."""
    return [(RETURN, 0, 0, action)]


def choose(code: int, constant: int, when_true: Block, when_false: Block) -> Block:
    """Return a block that goes on in one of two blocks; `code` compares with a constant."""
    if len(when_false) <= _MAX_JUMP:
        return [(code, len(when_false), 0, constant), *when_false, *when_true]
    return [
        (code, 0, 1, constant),
        (JUMP, 0, 0, len(when_false)),
        *when_false,
        *when_true,
    ]


def decide(outcomes: dict[int, Block], defaults: dict[int, Block]) -> Block:
    """Return a block that picks by the number in the accumulator, in few comparisons.

    `defaults` maps the first number of a range to what happens there without an entry in
    `outcomes`; its first range starts at 0. Neighbours with the same outcome become one range, and
    the ranges a balanced tree: of 400 calls each is decided in about eight steps. That also keeps
    loading cheap, because the kernel tries every number once to see which need no filter at all.
    """
    edges = set(defaults) | set(outcomes) | {number + 1 for number in outcomes}
    ranges: list[tuple[int, Block]] = []
    default = defaults[0]
    for number in sorted(edges):
        default = defaults.get(number, default)
        outcome = outcomes.get(number, default)
        if not ranges or ranges[-1][1] != outcome:
            ranges.append((number, outcome))
    return _tree(ranges)


def conditional(rules: list[Rule], default: int) -> Block:
    """Return a block that takes the first rule whose conditions hold, else the default."""
    block = returning(default)
    for rule in reversed(rules):
        block = _rule(rule, block)
    return block


def _tree(ranges: list[tuple[int, Block]]) -> Block:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return choose(GREATER_EQUAL, ranges[middle][0], _tree(ranges[middle:]), _tree(ranges[:middle]))


def _rule(rule: Rule, otherwise: Block) -> Block:
    """Check one condition after the other; the first that fails jumps over the action."""
    checks: list[list[tuple[int, str, str, int]]] = [_check(item) for item in rule.conditions]
    if not checks:
        return returning(rule.action)
    length = sum(len(check) for check in checks)
    block: Block = []
    for check in checks:
        end = len(block) + len(check)
        for code, if_true, if_false, constant in check:
            here = len(block) + 1
            ways = {"next": 0, "pass": end - here, "fail": length + 1 - here}
            block.append((code, ways[if_true], ways[if_false], constant))
    # On success the action, on failure (one further) whatever comes next.
    return [*block, (RETURN, 0, 0, rule.action), *otherwise]


def _check(item: Compare) -> list[tuple[int, str, str, int]]:
    """Compare 64 bits in two halves, the high one first (both architectures are little-endian)."""
    low_offset = _ARGUMENTS_OFFSET + 8 * item.argument
    load_high = (LOAD, "next", "next", low_offset + 4)
    load_low = (LOAD, "next", "next", low_offset)
    high, low = item.value >> 32, item.value & _LOW
    if item.operator == "masked":
        wanted = item.value_two & item.value
        return [
            load_high,
            (AND, "next", "next", high),
            (EQUAL, "next", "fail", wanted >> 32),
            load_low,
            (AND, "next", "next", low),
            (EQUAL, "pass", "fail", wanted & _LOW),
        ]
    if item.operator in ("eq", "ne"):
        yes, no = ("pass", "fail") if item.operator == "eq" else ("fail", "pass")
        return [
            load_high,
            (EQUAL, "next", no, high),
            load_low,
            (EQUAL, yes, no, low),
        ]
    greater, below = ("pass", "fail") if item.operator in ("gt", "ge") else ("fail", "pass")
    # `a > v` and `a <= v` ask one question of the low half, `a >= v` and `a < v` the other.
    final = GREATER if item.operator in ("gt", "le") else GREATER_EQUAL
    return [
        load_high,
        (GREATER, greater, "next", high),
        (EQUAL, "next", below, high),
        load_low,
        (final, greater, below, low),
    ]
