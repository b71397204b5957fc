"""Packages with users of their own, without subordinate ids and on a home without owners.

The bars of shared machines that need a distribution: apt and rpm install, a build keeps owners when
it is pushed, PostgreSQL makes its cluster in a build and starts in a later run on another machine,
with and without /dev/fuse. Needs a Debian mirror.
"""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from tests.support import cluster as clusters
from tests.support.accounts import Account
from tests.support.cluster import Cluster, Machine
from tests.support.registry import Registry

pytestmark = [pytest.mark.rpod_only, pytest.mark.full, pytest.mark.time_limit(900)]

NET = "--network=host"
RECIPE = """FROM localhost/debian
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive \\
    apt-get install -qy --no-install-recommends openssh-server postgresql rpm
"""
START = """pg_ctlcluster 15 main start && su postgres -c "psql -Atc 'select 6 * 7'"
pg_ctlcluster 15 main stop && id -un"""
SPEC = """Name: tiny
Version: 1
Release: 1
Summary: a package with a user of its own
License: none
BuildArch: noarch
%description
Tiny.
%pre
useradd --system tinyd
%install
mkdir -p %{buildroot}/srv
echo of rpm >%{buildroot}/srv/tiny
%files
%attr(0640, tinyd, mail) /srv/tiny
"""


@pytest.fixture(scope="module")
def shared(account_without_ids: Account) -> Iterator[Cluster]:
    if os.getuid() != 0:
        pytest.skip("missing: root, to simulate machines")
    absent = [name for name in ("bindfs", "rpmbuild") if shutil.which(name) is None]
    if absent:
        pytest.skip(f"missing: {', '.join(absent)}")
    with clusters.running(account_without_ids) as running:
        yield running


@pytest.fixture(scope="module")
def rpm_directory(shared_dir: str) -> str:
    """A directory with tiny.rpm."""
    top = f"{shared_dir}/rpm"
    os.mkdir(top)
    with open(f"{top}/tiny.spec", "w", encoding="ascii") as file:
        file.write(SPEC)
    command = ["rpmbuild", "-bb", "--define", f"_topdir {top}", f"{top}/tiny.spec"]
    subprocess.run(command, check=True, capture_output=True)
    os.rename(f"{top}/RPMS/noarch/tiny-1-1.noarch.rpm", f"{top}/tiny.rpm")
    subprocess.run(["chmod", "-R", "a+rX", top], check=True)
    return top


@pytest.fixture(scope="module")
def built(shared: Cluster, debian_rootfs: str) -> Machine:
    """The machine on which `localhost/served` was built."""
    one = shared.machine("one")
    one("import", debian_rootfs, "localhost/debian", timeout_s=200)
    command = ("build", NET, "-t", "localhost/served", "-f", "-", "/etc/ssl")
    one(*command, input=RECIPE.encode(), timeout_s=600)
    return one


@pytest.mark.parametrize("fuse", [True, False], ids=["fuse", "no fuse"])
def test_a_cluster_that_a_build_made_starts_on_another_machine(
    shared: Cluster, built: Machine, fuse: bool
) -> None:
    two = shared.machine("two" if fuse else "three", fuse=fuse)
    done = two("run", "--rm", NET, "localhost/served", "sh", "-c", START, timeout_s=200)
    assert done.lines[-2:] == ["42", "root"], done.told
    for options, uid in ((("--user=33",), "33"), (("--userns=keep-id",), str(two.account.uid))):
        assert two("run", "--rm", NET, *options, "localhost/served", "id", "-u").out == f"{uid}\n"


@pytest.mark.parametrize("fuse", [True, False], ids=["fuse", "no fuse"])
def test_packages_are_installed_in_a_run(
    shared: Cluster, built: Machine, rpm_directory: str, fuse: bool
) -> None:
    two = shared.machine("two" if fuse else "three", fuse=fuse)
    script = "rpm -i --nodeps /rpms/tiny.rpm && cat /srv/tiny && rpm -q tiny"
    arguments = ("-v", f"{rpm_directory}:/rpms:ro", "localhost/served", "sh", "-c")
    done = two(
        "run",
        "--rm",
        NET,
        *arguments,
        f"{script} && rpm -V --nodeps tiny; stat -c %U:%G /srv/tiny",
    )
    assert done.lines == ["of rpm", "tiny-1-1.noarch", "tinyd:mail"], done.told
    assert two("run", "--rm", NET, *arguments, script).lines == ["of rpm", "tiny-1-1.noarch"]
    install = (
        "apt-get -q update && apt-get install -qy --no-install-recommends dbus && id messagebus"
    )
    done = two("run", "--rm", NET, "localhost/debian", "sh", "-c", install, timeout_s=300)
    assert "(messagebus)" in done.lines[-1]


def test_a_pushed_layer_has_the_owners(built: Machine, registry: Registry, shared_dir: str) -> None:
    target = f"{registry.host}/bars/served:1"
    built("push", "-q", "--tls-verify=false", "localhost/served", target, timeout_s=200)
    layout = f"{shared_dir}/pushed"
    registry.skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{target}", f"dir:{layout}")
    with open(f"{layout}/manifest.json", encoding="utf-8") as file:
        digest = json.load(file)["layers"][-1]["digest"]
    found = {}
    with tarfile.open(f"{layout}/{digest.partition(':')[2]}") as layer:
        for entry in layer:
            found[entry.name.lstrip("./")] = (entry.uid > 0, entry.gid > 0, oct(entry.mode))
    assert found["usr/bin/ssh-agent"] == (False, True, "0o2755")
    assert found["var/lib/postgresql/15/main"] == (True, True, "0o700")
    assert found["var/lib/postgresql/15/main/PG_VERSION"] == (True, True, "0o600")
