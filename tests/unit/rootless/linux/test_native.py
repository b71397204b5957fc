"""Functions of the C library without the ctypes package."""

import ctypes
import subprocess
import sys

import pytest

from rootless.linux import native


def test_every_name_is_one_of_ctypes_which_may_stand_in() -> None:
    assert [name for name in native.__all__ if not hasattr(ctypes, name)] == []


def test_system_calls_load_no_ctypes() -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n"
    program += "import rootless.linux.syscalls, rootless.linux.notify\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True
    )
    assert not {"ctypes", "termios", "resource"} & set(done.stdout.split())


@pytest.mark.parametrize(("init", "size", "raw"), [
    (b"ab", None, b"ab\0"), (b"ab", 2, b"ab"), (b"ab", 4, b"ab\0\0"), (3, None, b"\0\0\0"),
])  # fmt: skip
def test_a_buffer_is_what_ctypes_makes(init: bytes | int, size: int | None, raw: bytes) -> None:
    made = native.create_string_buffer(init, size)
    assert made.raw == raw == ctypes.create_string_buffer(init, size).raw


def test_a_function_has_the_libraries_result_and_errno() -> None:
    library = native.CDLL(None, use_errno=True)
    assert library.toupper(ord("a")) == ord("A")
    assert library.close(-1) == -1
    assert native.get_errno() == 9  # EBADF
    assert library.toupper is library.toupper
    with pytest.raises(AttributeError):
        library.there_is_no_such_function  # noqa: B018 - the look-up is what fails
