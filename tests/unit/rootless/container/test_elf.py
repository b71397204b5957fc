"""Reading shared libraries: what they are called and which glibc they need."""

import sys
from pathlib import Path

import pytest

from rootless.container.elf import parse_library, read_library


def test_the_libraries_of_this_python() -> None:
    import _ctypes

    library = read_library(_ctypes.__file__)
    assert library is not None
    assert library.needs
    assert library.needs == sorted(library.needs)


def test_the_c_library_defines_what_it_needs_and_more() -> None:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.split()[-1] for line in maps if "/libc.so.6" in line}
    if not paths:
        pytest.skip(f"{sys.executable} does not use glibc")
    library = read_library(paths.pop())
    assert library is not None
    assert library.soname == "libc.so.6"
    assert library.defines[-1] >= (2, 17)


def test_damaged_files_are_no_libraries() -> None:
    import _ctypes

    data = Path(_ctypes.__file__).read_bytes()
    for cut in (0, 3, 20, 63, 64, 100, 600, len(data) // 2):
        part = data[:cut]
        parse_library(lambda offset, size, part=part: part[offset : offset + size])  # type: ignore[misc]
    for place in range(16, 4096, 37):
        broken = data[:place] + b"\xff\xff\xff\xff\xff\xff\xff\x7f" + data[place + 8 :]
        parse_library(lambda offset, size, it=broken: it[offset : offset + size])  # type: ignore[misc]
    assert read_library("/etc/passwd") is None
    assert read_library("/nowhere") is None
