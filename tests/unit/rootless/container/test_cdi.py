"""What names of devices stand for: files of the container device interface."""

import json
from pathlib import Path

import pytest

from rootless.container.cdi import find_devices, gpu_names
from rootless.errors import MountSourceMissing, UsageError
from storage.errors import InvalidDocument

YAML = """
cdiVersion: 0.6.0
kind: vendor.com/gpu
containerEdits:
  env: [COMMON=1]
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, create-symlinks, --link, libx.so.1::/usr/lib/libx.so]
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, update-ldcache, --folder=/usr/lib/v, --folder, /usr/lib/w]
  - hookName: createContainer
    path: /opt/strange
    args: [strange, --do]
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/zero}, {path: /dev/inside, hostPath: /dev/full}]
    mounts: [{hostPath: /etc/hostname, containerPath: /x, options: [ro, nosuid]}]
- name: "1"
  containerEdits: {env: [ONE=1], additionalGids: [44, 105]}
- name: all
  containerEdits: {env: [ALL=1]}
"""


@pytest.fixture
def directories(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "site").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "site" / "v.yaml").write_text(YAML)
    (tmp_path / "site" / "other.txt").write_text("not one of ours")
    return (str(tmp_path / "absent"), str(tmp_path / "site"), str(tmp_path / "own"))


def test_edits_of_the_file_come_once_and_before_those_of_devices(
    directories: tuple[str, ...],
) -> None:
    common, first, second = find_devices(("vendor.com/gpu=0", "vendor.com/gpu=1"), directories)
    assert common.env == {"COMMON": "1"}
    assert common.links == [("libx.so.1", "/usr/lib/libx.so")]
    assert common.library_path == ["/usr/lib/v", "/usr/lib/w"]
    assert len(common.notes) == 1
    assert "`strange --do` is left out" in common.notes[0]
    assert first.devices == [("/dev/zero", "/dev/zero"), ("/dev/full", "/dev/inside")]
    assert first.mounts == [("/etc/hostname", "/x", ("ro", "nosuid"), "")]
    assert second.env == {"ONE": "1"}
    assert len(second.notes) == 1
    assert "additionalGids 44, 105: groups of the host cannot be given" in second.notes[0]


def test_the_later_directory_goes_first(directories: tuple[str, ...]) -> None:
    device = {"name": "1", "containerEdits": {"env": ["MINE=1"]}}
    document = {"cdiVersion": "0.5.0", "kind": "vendor.com/gpu", "devices": [device]}
    Path(directories[2], "mine.json").write_text(json.dumps(document))
    assert find_devices(("vendor.com/gpu=1",), directories)[1].env == {"MINE": "1"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", ["all"]),
        ("1", ["0"]),
        ("2", ["0", "1"]),
        ("device=1", ["1"]),
        ('"device=0,1"', ["0", "1"]),
    ],
)
def test_gpus_are_devices_by_name(
    directories: tuple[str, ...], text: str, names: list[str]
) -> None:
    text = text.strip('"')
    assert gpu_names(text, directories) == tuple(f"vendor.com/gpu={name}" for name in names)


def test_more_gpus_than_there_are(directories: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="there are 2: 0, 1"):
        gpu_names("3", directories)


@pytest.mark.parametrize(
    ("name", "said"),
    [("vendor.com/gpu=7", "there are 0, 1, all"), ("x.org/y=1", "no such device is described")],
)
def test_a_name_that_nothing_describes(directories: tuple[str, ...], name: str, said: str) -> None:
    with pytest.raises(MountSourceMissing, match=said):
        find_devices((name,), directories)


def test_no_gpu_is_described(tmp_path: Path) -> None:
    with pytest.raises(MountSourceMissing) as caught:
        gpu_names("all", (str(tmp_path),))
    assert "nvidia-ctk cdi generate" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["{", "[]", "kind: 3", "kind: nokind", "devices: 1", "kind: a/b\ndevices: [1]", "\t-"]
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises((InvalidDocument, UsageError)) as caught:
        find_devices(("a/b=c",), (str(tmp_path),))
    assert f"{tmp_path}/broken.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
