"""A home that machines share, without owners and attributes: storage, and who fetches."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from storage.leases import LEASE_S
from tests.support import cluster as clusters
from tests.support import images
from tests.support.accounts import Account, processes
from tests.support.cluster import Cluster, CountingProxy, Machine
from tests.support.command import TIME_FACTOR, Command
from tests.support.registry import Registry

pytestmark = pytest.mark.rpod_only

RUN = ("run", "--rm", "--network=none")


@pytest.fixture(scope="module")
def shared(account_without_ids: Account) -> Iterator[Cluster]:
    if os.getuid() != 0:
        pytest.skip("missing: root, to simulate machines")
    if shutil.which("bindfs") is None:
        pytest.skip("missing: bindfs")
    with clusters.running(account_without_ids) as running:
        yield running


@pytest.fixture
def one(shared: Cluster) -> Iterator[Machine]:
    machine = shared.machine("one")
    yield machine
    forget(shared)


@pytest.fixture
def loaded(one: Machine, busybox_tar: str) -> str:
    """An image that machine one has made."""
    one("import", busybox_tar, "localhost/made")
    return "localhost/made"


def forget(shared: Cluster) -> None:
    """Empty the home and the machines."""
    for directory in (shared.home, f"{shared.directory}/one", f"{shared.directory}/two"):
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            shutil.rmtree(f"{directory}/{name}", ignore_errors=True)


def files_below(directory: str) -> list[str]:
    return [f"{where}/{name}" for where, _, names in os.walk(directory) for name in names]


@pytest.mark.parametrize("fuse", [True, False], ids=["fuse", "no fuse"])
def test_image_made_on_one_machine_runs_on_another(
    shared: Cluster, loaded: str, fuse: bool
) -> None:
    two = shared.machine("two", fuse=fuse)
    script = "id -u; rm -r /home && mkdir /home && echo x >/home/new && ls /home"
    done = two(*RUN, loaded, "sh", "-c", script + "; chown 33 /home/new")
    assert done.lines == ["0", "new"]
    # At most one line of what is less here, with the reason of the slower way.
    assert len(done.err.splitlines()) <= 1
    assert ("unpacking" in done.err) is not fuse
    assert two(*RUN, loaded, "cat", "/etc/passwd").lines[0].startswith("root:")
    programs = [path for path in files_below(two.memory) if path.endswith("/bin/busybox")]
    assert len(programs) == (0 if fuse else 1)


def test_home_holds_blobs_one_squashfs_and_records_alone(shared: Cluster, loaded: str) -> None:
    found = sorted(os.listdir(shared.store))
    assert found == ["blobs", "images", "index.json", "leases", "names", "nodes", "oci-layout",
                     "squash", "version"]  # fmt: skip
    assert len(os.listdir(f"{shared.store}/squash")) == 1
    assert os.listdir(f"{shared.store}/leases") == []
    assert len(files_below(shared.store)) < 15
    assert not [path for path in files_below(shared.store) if path.endswith(".tmp")]


def test_containers_changes_and_commits(shared: Cluster, one: Machine, loaded: str) -> None:
    two = shared.machine("two")
    two("run", "--name=made", "--network=none", loaded, "sh", "-c", "echo kept >/new")
    assert "A /new" in two("diff", "made").lines
    two("commit", "made", "localhost/committed")
    assert one(*RUN, "localhost/committed", "cat", "/new").out == "kept\n"
    two("rm", "made")


def test_build_and_tags_are_seen_everywhere(shared: Cluster, one: Machine, loaded: str) -> None:
    two = shared.machine("two")
    recipe = f"FROM {loaded}\nRUN echo built >/built; chown 33:44 /built\n".encode()
    two("build", "-t", "localhost/app", "-f", "-", "/etc/ssl", input=recipe)
    assert one(*RUN, "localhost/app", "cat", "/built").out == "built\n"
    one("tag", "localhost/app", "localhost/app:two")
    assert two("image", "exists", "localhost/app:two").code == 0
    two("rmi", "localhost/app:two", "localhost/app")
    assert one("image", "exists", "localhost/app", check=False).code == 1
    assert one(*RUN, loaded, "true").code == 0


def test_volumes_are_seen_everywhere_and_last(shared: Cluster, one: Machine, loaded: str) -> None:
    two = shared.machine("two")
    two(*RUN, "-v", "data:/home", loaded, "sh", "-c", "echo kept >/home/file")
    subprocess.run(["umount", "-l", two.memory], check=True)
    assert one(*RUN, "-v", "data:/home", loaded, "cat", "/home/file").out == "kept\n"
    assert one("volume", "ls", "-q").lines == ["data"]
    one("volume", "rm", "data")
    assert os.listdir(f"{shared.store}/volumes") == []
    os.rmdir(two.memory)


def test_stale_runtime_directory_and_one_of_another_user(shared: Cluster, loaded: str) -> None:
    two = shared.machine("two")
    own = f"{two.memory}/rpod-node-{two.account.uid}"
    os.mkdir(own, 0o777)
    done = two(*RUN, loaded, "true", env={"XDG_RUNTIME_DIR": "/run/user/4294967293"})
    assert f"{os.path.basename(own)} is not used: it belongs to user 0" in done.err
    assert os.listdir(own) == []
    for path in ("/var/tmp", "/tmp"):
        shutil.rmtree(f"{path}/rpod-node-{two.account.uid}", ignore_errors=True)


def test_squashfs_that_is_cut_short_is_not_used(shared: Cluster, loaded: str) -> None:
    two = shared.machine("two")
    (name,) = os.listdir(f"{shared.store}/squash")
    os.truncate(f"{shared.store}/squash/{name}", 5000)
    done = two(*RUN, loaded, "echo", "ran")
    assert done.out == "ran\n"
    assert "cut short" in done.err


def test_torn_blob_is_not_used(shared: Cluster, loaded: str) -> None:
    two = shared.machine("two", fuse=False)
    blobs = f"{shared.store}/blobs/sha256"
    layer = max(os.listdir(blobs), key=lambda name: os.path.getsize(f"{blobs}/{name}"))
    os.truncate(f"{blobs}/{layer}", 70000)
    done = two(*RUN, loaded, "true", check=False)
    assert done.code == 125
    assert layer[:12] in done.err


@pytest.fixture
def proxy(registry: Registry, docker_archive: str) -> Iterator[CountingProxy]:
    registry.push(f"docker-archive:{docker_archive}", "cluster/app:1")
    counting = CountingProxy(registry.host)
    yield counting
    counting.close()


def start_all(machines: list[Machine], name: str, each: int) -> list[subprocess.Popen[bytes]]:
    return [machine.spawn(*RUN, name, "echo", "ran") for _ in range(each) for machine in machines]


def check_all(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        out, err = process.communicate(timeout=240)
        assert (process.returncode, out) == (0, b"ran\n"), err.decode()


def test_many_first_runs_on_two_machines_cause_one_download(
    shared: Cluster, one: Machine, proxy: CountingProxy
) -> None:
    machines = [one, shared.machine("two")]
    proxy.pause_s = 0.5
    check_all(start_all(machines, f"{proxy.host}/cluster/app:1", 32))
    assert len(proxy.blobs) == len(set(proxy.blobs)) == 2  # configuration and layer
    assert os.listdir(f"{shared.store}/leases") == []


def test_killed_puller_is_followed_within_a_lease(
    shared: Cluster, one: Machine, proxy: CountingProxy
) -> None:
    others = [shared.machine("two"), shared.machine("three")]
    proxy.pause_s = 30
    puller = one.spawn("pull", f"{proxy.host}/cluster/app:1")
    end_s = time.monotonic() + 20
    while not proxy.blobs and time.monotonic() < end_s:
        time.sleep(0.05)
    assert proxy.blobs
    proxy.pause_s = 0
    waiting = start_all(others, f"{proxy.host}/cluster/app:1", 32)
    time.sleep(2)
    pulling = [one for one in processes(one.account.owns) if " pull " in one.command]
    # The first process of its machine: nothing there survives it.
    os.kill(pulling[0].pid, signal.SIGKILL)
    killed_s, asked = time.monotonic(), len(proxy.blobs)
    while len(proxy.blobs) == asked and time.monotonic() < killed_s + 2 * LEASE_S:
        time.sleep(0.05)
    assert time.monotonic() - killed_s < LEASE_S + 3 * TIME_FACTOR
    check_all(waiting)
    assert len(proxy.blobs) == asked + 2  # one of them has done it, for all
    assert os.listdir(f"{shared.store}/leases") == []
    puller.communicate()


def test_quota_in_the_middle_of_a_pull(shared: Cluster, one: Machine, loaded: str) -> None:
    """The home is full: the image is kept on the node, with a line, and runs."""
    small = f"{shared.directory}/home"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k,mode=0700", "small", small],
                   check=True)  # fmt: skip
    try:
        os.chown(small, one.account.uid, one.account.gid)
        node = {"RPOD_NODE_ROOT": "/dev/shm"}
        archive = f"{shared.directory}/image.tar"
        with open(archive, "wb") as file:
            file.write(images.busybox_archive())
        os.chmod(archive, 0o644)
        done = one("load", "-i", archive, env=node)
        assert "kept on this node only" in done.err
        assert one(*RUN, images.NAME, "echo", "ran", env=node).out == "ran\n"
        assert not [path for path in files_below(small) if path.endswith(".tmp")]
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("home", ["", "/nonexistent", "/proc"])
def test_home_that_is_missing_or_cannot_be_written(
    shared: Cluster, one: Machine, loaded: str, home: str
) -> None:
    published = f"{shared.directory}/site"
    os.makedirs(published, exist_ok=True)
    os.chown(published, one.account.uid, one.account.gid)
    one("image", "publish", published, loaded)
    two = shared.machine("two", fuse=False)
    two.environment["HOME"] = home
    two.environment["RPOD_ADDITIONAL_STORES"] = published
    done = two(*RUN, loaded, "echo", "ran")
    assert done.out == "ran\n"
    shutil.rmtree(published)


def test_whatever_is_absent_a_program_runs_with_one_line_at_most(
    shared: Cluster, one: Machine, loaded: str
) -> None:
    """FUSE, the cgroup file system, XDG_RUNTIME_DIR and HOME, each there or not; never a D-Bus."""
    site, runtime = f"{shared.directory}/site", f"{shared.directory}/runtime"
    for path in (site, runtime):
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chown(path, one.account.uid, one.account.gid)
    one("image", "publish", site, loaded)
    failed = {}
    for there in itertools.product((True, False), repeat=4):
        fuse, cgroup, session, home = there
        two = shared.machine("two", fuse=fuse)
        two.no_cgroup = "" if cgroup else "absent"
        env = {"RPOD_ADDITIONAL_STORES": site, "XDG_RUNTIME_DIR": runtime if session else ""}
        done = two("run", "--rm", loaded, "true", check=False,
                   env=env if home else {**env, "HOME": "/nonexistent"})  # fmt: skip
        if done.code != 0 or len(done.err.splitlines()) > 1:
            failed[there] = done.told
    assert not failed, "\n".join(f"{t} {v}" for t, v in failed.items())
    shutil.rmtree(site)
    shutil.rmtree(runtime, ignore_errors=True)


def test_local_home_stays_as_it_was(rpod: Command, image: str) -> None:
    rpod(*RUN, image, "true")
    assert not os.path.exists(f"{rpod.account.home}/.local/share/rpod/nodes")


def test_start_asks_the_shared_file_system_little(
    shared: Cluster, one: Machine, loaded: str
) -> None:
    """Every look-up there is one of a metadata server that thousands of ranks wait for."""
    if shutil.which("strace") is None:
        pytest.skip("missing: strace")
    # Unpacked: whoever traces a server of FUSE and its client waits for itself.
    two = shared.machine("two", fuse=False)
    two(*RUN, loaded, "true")
    log = f"{two.memory}/trace"
    two.prefix = ["strace", "-f", "-qq", "-e", "trace=%file", "-o", "/dev/shm/trace", *two.prefix]
    assert two(*RUN, "--root-emulation=off", loaded, "echo", "ran").out == "ran\n"
    with open(log, encoding="utf-8", errors="replace") as file:
        asked = [line for line in file if shared.home in line]
    assert 0 < len(asked) < 25, "".join(asked)


@pytest.mark.parametrize("fuse", [True, False], ids=["fuse", "no fuse"])
def test_one_id_is_whoever_is_asked_for(
    shared: Cluster, one: Machine, loaded: str, fuse: bool
) -> None:
    """Also of an image with directories that neither that user nor root of it owns."""
    two = shared.machine("two", fuse=fuse)
    recipe = f"FROM {loaded}\nRUN mkdir -p /run/x && chown 5:6 /run /run/x && chmod 755 /run\n"
    one("build", "-q", "-t", "localhost/owned", "-f", "-", "/etc/ssl", input=recipe.encode())
    for name in (loaded, "localhost/owned"):
        for options, uid in ((("--user=33",), 33), (("--userns=keep-id",), two.account.uid)):
            done = two(*RUN, *options, name, "sh", "-c", "id -u; echo x >>/etc/passwd")
            assert done.out == f"{uid}\n"
            assert len(done.err.splitlines()) <= 1
        assert two("shell", name, "id", "-u").out == f"{two.account.uid}\n"
        assert two(*RUN, name, "id", "-u").out == "0\n"
