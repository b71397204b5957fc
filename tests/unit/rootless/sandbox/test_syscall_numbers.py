import re
from pathlib import Path

import pytest

from rootless.sandbox import syscall_numbers

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")
DEFINITION = re.compile(r"#define __NR_(\w+)\s+(?:\(__X32_SYSCALL_BIT \+ )?(\d+)\)?\s*$")


@pytest.mark.parametrize(
    ("architecture", "name"),
    [("x86_64", "unistd_64.h"), ("x32", "unistd_x32.h"), ("i386", "unistd_32.h")],
)
def test_numbers_are_those_of_the_kernel_headers(architecture: str, name: str) -> None:
    header = HEADERS / name
    if not header.exists():
        pytest.skip(f"{header} is missing: install linux-libc-dev on x86_64")
    found = {}
    for line in header.read_text().splitlines():
        match = DEFINITION.match(line)
        if match:
            found[match[1]] = int(match[2])
    assert len(found) > 300
    table = syscall_numbers.numbers(architecture)
    bit = syscall_numbers.X32_BIT if architecture == "x32" else 0
    wrong = {
        key: (number, table.get(key))
        for key, number in found.items()
        if table.get(key) != number | bit
    }
    assert wrong == {}
    # What the table has beyond an older header are calls that came later.
    newest = found["set_mempolicy_home_node"]
    extra = {key for key in table.keys() - found.keys() if table[key] & ~bit <= newest}
    assert extra <= {"uretprobe", "uprobe"}


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("aarch64", {"openat": 56, "execve": 221, "statx": 291, "clone3": 435, "mseal": 462}),
        ("arm", {"open": 5, "openat": 322, "set_tls": 0xF0005, "futex_time64": 422}),
        ("x32", {"read": 0x40000000, "execve": 0x40000208}),
    ],
)
def test_numbers_known_by_heart(architecture: str, expected: dict[str, int]) -> None:
    table = syscall_numbers.numbers(architecture)
    assert {name: table.get(name) for name in expected} == expected


@pytest.mark.parametrize("architecture", ["aarch64", "arm"])
def test_old_calls_are_not_on_new_architectures(architecture: str) -> None:
    table = syscall_numbers.numbers(architecture)
    assert ("open" in table) == (architecture == "arm")
    assert "iopl" not in table


@pytest.mark.parametrize("architecture", syscall_numbers.ARCHITECTURES)
def test_no_number_has_two_names(architecture: str) -> None:
    table = syscall_numbers.numbers(architecture)
    assert len(set(table.values())) == len(table)
