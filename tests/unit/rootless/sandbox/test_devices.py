import os
from pathlib import Path

import pytest

from rootless.errors import MountSourceMissing, UsageError
from rootless.sandbox import devices
from rootless.sandbox.devices import parse_device, privileged_devices


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/dev/null", "/dev/null"),
        ("/dev/null:/dev/nothing", "/dev/nothing"),
        ("/dev/null:rwm", "/dev/null"),
        ("/dev/null:/dev/nothing:rw", "/dev/nothing"),
        ("/dev/../dev/null:/dev//x/", "/dev/x"),
        ("/dev/null:/rwm", "/rwm"),
    ],
)
def test_device_option_is_read(text: str, path: str) -> None:
    (device,) = parse_device(text)
    assert device == devices.Device(path, "/dev/null", "c", 1, 3, 0o666)


def test_entry_names_the_source_only_when_it_differs() -> None:
    assert parse_device("/dev/zero")[0].to_json() == {
        "path": "/dev/zero",
        "type": "c",
        "major": 1,
        "minor": 5,
        "fileMode": 0o666,
    }
    assert parse_device("/dev/zero:/dev/z")[0].to_json()["source"] == "/dev/zero"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", 'invalid device "null"'),
        ("", 'invalid device ""'),
        ("/dev/null:", "invalid device"),
        ("/dev/null:x", "must be absolute"),
        ("/dev/null:/a:/b:rw", "invalid device"),
        ("/dev/null:/a:rx", "invalid device"),
        ("nvidia.com/gpu=all", "devices by name are for run, create and shell"),
        ("/etc/passwd", "/etc/passwd is not a device"),
        ("/dev/null:r", "cannot be limited"),
        ("/dev/null:/dev/x:m", "cannot be limited"),
    ],
)
def test_device_option_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_device(text)


def test_missing_device_is_named() -> None:
    with pytest.raises(MountSourceMissing, match="/dev/no-such: no such file"):
        parse_device("/dev/no-such")


def test_a_directory_stands_for_its_devices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no device in the directory"):
        parse_device(f"{tmp_path}:/dev/snd")
    if os.geteuid() != 0:
        pytest.skip("making device nodes needs root")
    (tmp_path / "sub").mkdir()
    os.mknod(tmp_path / "b", 0o600 | 0o020000, os.makedev(1, 3))
    os.mknod(tmp_path / "sub/c", 0o600 | 0o060000, os.makedev(7, 200))
    (tmp_path / "a-file").touch()
    (tmp_path / "link").symlink_to("/dev/null")
    found = parse_device(f"{tmp_path}:/dev/snd")
    assert [(device.path, device.kind, device.major) for device in found] == [
        ("/dev/snd/b", "c", 1),
        ("/dev/snd/sub/c", "b", 7),
    ]


def test_privileged_devices_are_what_the_caller_can_open() -> None:
    found = {device.path for device in privileged_devices()}
    assert found.isdisjoint({"/dev/null", "/dev/ptmx", "/dev/tty", "/dev/tty0", "/dev/console"})
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/")) for path in found)
    for path in found:
        assert os.access(path, os.R_OK) or os.access(path, os.W_OK)
    if os.path.exists("/dev/fuse") and os.access("/dev/fuse", os.R_OK):
        assert "/dev/fuse" in found
    assert all(device.optional for device in privileged_devices())
