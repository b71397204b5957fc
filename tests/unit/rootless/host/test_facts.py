"""What is read from files of the host: cgroups, file systems, distribution, programs."""

import os
from pathlib import Path

import pytest

from rootless.host.cgroup import find_cgroup
from rootless.host.check import FAIL, OK, WARN
from rootless.host.check_identity import check_kernel, in_chroot
from rootless.host.filesystem import find_file_system
from rootless.host.programs import find_program, install_command, os_release, run_program

HYBRID = """\
30 1 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""


def make_v2(tmp_path: Path, controllers: str) -> tuple[str, str]:
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    own = root / "mine"
    own.mkdir(parents=True)
    proc.mkdir()
    (proc / "mountinfo").write_text(f"31 30 0:27 / {root} rw - cgroup2 cgroup2 rw\n")
    (proc / "cgroup").write_text("0::/mine\n")
    (own / "cgroup.controllers").write_text(controllers)
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (own / name).write_text("")
    return str(proc), str(root)


def test_own_cgroup_is_found(tmp_path: Path) -> None:
    proc, root = make_v2(tmp_path, "memory pids\n")
    group = find_cgroup(os.getuid(), str(tmp_path), proc=proc, root=root)
    assert (group.mode, group.manager, group.directory) == ("v2", "cgroupfs", f"{root}/mine")
    assert group.missing == ("cpu",)


def test_hybrid_is_no_v2(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(HYBRID)
    (tmp_path / "cgroup").write_text("4:memory:/\n0::/\n")
    assert find_cgroup(1000, "/nonexistent", proc=str(tmp_path)).mode == "hybrid"


def test_no_cgroup_at_all(tmp_path: Path) -> None:
    group = find_cgroup(1000, "/nonexistent", proc=str(tmp_path))
    assert (group.mode, group.controllers) == ("none", ())


MOUNTS = """\
1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:40 / /home rw,relatime - nfs4 server:/home rw
3 2 254:1 / /home/a\\040b rw - xfs /dev/vdb rw
4 1 0:41 / /sw rw - fuse.sshfs x rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var", "ext4", False),
        ("/home/none/there", "nfs4", True),
        ("/homes", "ext4", False),
        ("/sw", "fuse.sshfs", True),
    ],
)
def test_file_system_of_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, network: bool
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr("rootless.host.filesystem.existing_part", lambda given: given)
    found = find_file_system(path, mountinfo=str(tmp_path / "mountinfo"))
    assert (found.kind, found.is_network) == (kind, network)


def test_mount_point_with_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr("rootless.host.filesystem.existing_part", lambda given: given)
    assert find_file_system("/home/a b/x", mountinfo=str(tmp_path / "mountinfo")).kind == "xfs"


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("6.1.0-18-amd64", OK),
        ("5.11.0", OK),
        ("5.10.0-28-amd64", WARN),
        ("4.18.0-553.el8.x86_64", FAIL),
        ("odd", FAIL),
    ],
)
def test_kernel_version_is_judged(release: str, status: str) -> None:
    assert check_kernel(release).status == status


@pytest.mark.parametrize(
    ("release", "program", "expected"),
    [
        ({"ID": "debian"}, "newuidmap", "sudo apt-get install -y uidmap"),
        ({"ID": "mint", "ID_LIKE": "ubuntu debian"}, "pasta", "sudo apt-get install -y passt"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "pasta", "sudo dnf install -y passt"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse"}, "slirp4netns", "sudo zypper install -y "),
        ({"ID": "alpine"}, "newuidmap", "sudo apk add shadow-uidmap"),
        ({}, "newuidmap", "install uidmap with this system's package manager"),
    ],
)
def test_install_command_fits_the_distribution(
    release: dict[str, str], program: str, expected: str
) -> None:
    assert install_command(program, release).startswith(expected)


def test_os_release_is_unquoted(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('# made\nID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    assert os_release(str(file)) == {"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux 12"}


def test_program_is_not_taken_from_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rpod-test-program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_program(program.name, {"PATH": ".:"}) is None
    assert find_program(program.name, {"PATH": f".:{tmp_path}"}) == str(program)


def test_program_that_cannot_start_has_status_127() -> None:
    output = run_program(["/nonexistent/program"])
    assert (output.status, output.stderr) == (
        127,
        "/nonexistent/program: No such file or directory",
    )


@pytest.mark.parametrize(
    ("mountinfo", "inside"),
    [
        ("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw\n", False),
        ("23 22 0:5 / /proc rw - proc proc rw\n", True),
        ("", False),
    ],
    ids=["root is mounted", "only what is below", "no /proc"],
)
def test_a_chroot_is_a_root_without_a_mount(tmp_path: Path, mountinfo: str, inside: bool) -> None:
    path = tmp_path / "mountinfo"
    path.write_text(mountinfo)
    assert in_chroot(mountinfo=str(path)) is inside
