"""Injected libraries and the C library of the image."""

import _ctypes

import pytest

from rootless.container import injection
from rootless.container.edits import Injection
from rootless.errors import HostError


@pytest.mark.parametrize(
    ("has", "said"), [((2, 0), "the image has glibc 2.0"), (None, "the image has no glibc")]
)
def test_a_library_that_needs_a_newer_glibc_is_refused(
    monkeypatch: pytest.MonkeyPatch, has: tuple[int, ...] | None, said: str
) -> None:
    monkeypatch.setattr(injection, "image_glibc", lambda layers: has)
    one = Injection("profile mpi")
    one.mounts.append((_ctypes.__file__, "/opt/host/lib.so", (), ""))
    with pytest.raises(HostError, match=said) as caught:
        injection._check_libraries([one], [])
    assert f"inject profile mpi: {_ctypes.__file__} needs glibc " in caught.value.message


def test_an_image_without_a_c_library_has_no_glibc(tmp_path: object) -> None:
    assert injection.image_glibc([str(tmp_path)]) is None
