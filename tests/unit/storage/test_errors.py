"""Errors of the store say what to do."""

import errno
import os

import pytest

from storage.errors import DiskFull, StoreUnusable, from_os_error


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, DiskFull, "free space"),
        (errno.EROFS, StoreUnusable, "a directory that you can write"),
        (errno.ENOLCK, StoreUnusable, "on a local file system: --root DIR"),
        (errno.EIO, StoreUnusable, ""),
    ],
)
def test_remedy_of_a_failed_call(number: int, kind: type[Exception], remedy: str) -> None:
    found = from_os_error("lock /store/locks/images", OSError(number, os.strerror(number)))
    assert type(found) is kind
    assert found.message == f"lock /store/locks/images: {os.strerror(number)}"
    assert remedy in found.remedy
    assert bool(remedy) == bool(found.remedy)
