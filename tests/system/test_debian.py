"""A whole distribution: Debian by mmdebstrap, by way of a registry. Needs a Debian mirror."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.command import Command
from tests.support.registry import Registry

pytestmark = [pytest.mark.full, pytest.mark.time_limit(600)]


@pytest.fixture(scope="module")
def debian(
    session_command: Command, registry: Registry, shared_dir: str, debian_rootfs: str
) -> Iterator[str]:
    """Name of a Debian image in the registry, made of two layers by umoci and skopeo."""
    if shutil.which("umoci") is None:
        pytest.skip("not installed: umoci")
    layout = f"{shared_dir}/debian"
    bundle = f"{shared_dir}/bundle"
    image = f"{layout}:12"
    for command in (
        ["umoci", "init", "--layout", layout],
        ["umoci", "new", "--image", image],
        ["umoci", "unpack", "--image", image, bundle],
        ["tar", "-xf", debian_rootfs, "-C", f"{bundle}/rootfs"],
        ["umoci", "repack", "--image", image, bundle],
        ["sh", "-c", f"echo of the second layer >{bundle}/rootfs/etc/second"],
        ["umoci", "repack", "--refresh-bundle", "--image", image, bundle],
        ["umoci", "config", "--image", image, "--config.cmd", "bash"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    yield registry.push(f"oci:{image}", "debian:12")


def test_debian_runs(rpod: Command, debian: str) -> None:
    rpod("pull", "-q", "--tls-verify=false", debian, timeout_s=300)
    script = "cat /etc/second; . /etc/os-release; echo $ID $VERSION_ID"
    assert rpod("run", "--rm", debian, "sh", "-c", script).lines == [
        "of the second layer",
        "debian 12",
    ]


def test_debian_files_have_their_owners_and_modes(rpod: Command, debian: str) -> None:
    rpod("pull", "-q", "--tls-verify=false", debian, timeout_s=300)
    names = ("/etc/shadow", "/usr/bin/passwd", "/var/mail", "/var/local", "/tmp")
    done = rpod("run", "--rm", debian, "stat", "-c", "%n %U:%G %a", *names)
    assert done.lines == [
        "/etc/shadow root:shadow 640",
        "/usr/bin/passwd root:root 4755",
        "/var/mail root:mail 2775",
        "/var/local root:staff 2775",
        "/tmp root:root 1777",
    ]


def test_debian_apt_get_works_inside(rpod: Command, debian: str) -> None:
    rpod("pull", "-q", "--tls-verify=false", debian, timeout_s=300)
    done = rpod("run", "--rm", debian, "apt-get", "update", timeout_s=300)
    assert "Reading package lists" in done.out, done.told
    assert not [line for line in done.lines if line.startswith("Err")], done.told
