"""The ways into an account other than a login at the terminal: su, sudo, ssh, cron, a unit.

As root of the machine (contrib/lab/inside). `tester` lingers, so there is a user manager whichever
way is taken; `nosubid` has one only as long as it is logged in.
"""

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support import images

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="takes the machine's root")
RPOD = "/share/.venv/bin/rpod"
RUN = f"{RPOD} run --network=none --pull=never"
KEY = "/root/.ssh/key"
SSH = ["ssh", "-q", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-i", KEY]
WAYS = {
    "su": ["su", "USER", "-c"],
    "su-login": ["su", "-", "USER", "-c"],
    "sudo": ["sudo", "-u", "USER", "sh", "-c"],
    "sudo-login": ["sudo", "-iu", "USER", "sh", "-c"],
    "ssh": [*SSH, "USER@127.0.0.1"],
    "no-session": ["setpriv", "--reuid=USER", "--regid=USER", "--init-groups", "env", "-i",
                   "HOME=/home/USER", "PATH=/usr/bin:/bin", "sh", "-c"],
    "service": ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--uid=USER",
                "sh", "-c"],
}  # fmt: skip
Enter = Callable[..., subprocess.CompletedProcess[str]]


def enter(way: str, script: str, *, user: str = "tester") -> subprocess.CompletedProcess[str]:
    """Run a script as a user, with the variables that root's own session has."""
    return subprocess.run(
        [*(word.replace("USER", user) for word in WAYS[way]), script],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "XDG_RUNTIME_DIR": "/run/user/0", "HOME": "/root"}, cwd="/",
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def accounts(docker_archive: str) -> Iterator[None]:
    """Open the machine's ways in, and give both accounts the test image."""
    os.makedirs("/root/.ssh", mode=0o700, exist_ok=True)
    if not os.path.exists(KEY):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY], check=True)
    subprocess.run(["systemctl", "start", "ssh", "cron"], check=True)
    for user in ("tester", "nosubid"):
        entry = pwd.getpwnam(user)
        directory = f"/home/{user}/.ssh"
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(f"{KEY}.pub", "rb") as source, open(f"{directory}/authorized_keys", "wb") as to:
            to.write(source.read())
        for path in (directory, f"{directory}/authorized_keys"):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        with open(docker_archive, "rb") as archive:
            subprocess.run(["su", "-", user, "-c", f"{RPOD} load -q"], stdin=archive, check=True,
                           capture_output=True)  # fmt: skip
    yield
    for user in ("tester", "nosubid"):
        enter("su-login", f"{RPOD} rm -fat0", user=user)


@pytest.fixture(autouse=True)
def no_container_before() -> None:
    enter("su-login", f"{RPOD} rm -fat0")


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("way", WAYS)
def test_same_containers_whichever_way_in(way: str) -> None:
    """Limits hold, and a container is the same one for every way: started here, ended there."""
    limited = enter(way, f"{RUN} --rm --memory=64m {images.NAME} cat /sys/fs/cgroup/memory.max")
    assert (limited.stdout, limited.returncode) == ("67108864\n", 0), limited.stderr
    started = enter(way, f"{RUN} -d --name box {images.NAME} sleep 1000")
    assert started.returncode == 0, started.stderr
    assert "loginctl" not in started.stderr, "the account lingers"
    time.sleep(1)  # what came in has gone
    other = "ssh" if way != "ssh" else "su"
    listed = enter(other, f"{RPOD} ps --format '{{{{.Names}}}} {{{{.State}}}}'")
    assert listed.stdout == "box running\n", listed.stderr
    assert enter(other, f"{RPOD} exec box echo hello").stdout == "hello\n"
    ended = enter(other, f"{RPOD} rm -ft0 box")
    assert ended.returncode == 0, ended.stderr
    assert enter(way, f"{RPOD} ps -aq").stdout == ""


@pytest.mark.time_limit(200)
def test_cron_starts_what_stays() -> None:
    """A container that a cron job left in the background outlives the job."""
    out = "/home/tester/cron.out"
    line = f"* * * * * {RUN} -d --name timed {images.NAME} sleep 1000 >{out} 2>&1\n"
    subprocess.run(["crontab", "-u", "tester", "-"], input=line, text=True, check=True)
    try:
        last_s = time.monotonic() + 100
        while not (os.path.exists(out) and os.path.getsize(out)) and time.monotonic() < last_s:
            time.sleep(0.5)
    finally:
        subprocess.run(["crontab", "-u", "tester", "-r"], check=True)
    time.sleep(2)
    with open(out, encoding="utf-8") as file:
        told = file.read()
    assert len(told) == 65, told
    listed = enter("ssh", f"{RPOD} ps --format '{{{{.Names}}}} {{{{.State}}}}'")
    assert listed.stdout == "timed running\n", (told, listed.stderr)


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("way", ["ssh", "service"])
def test_account_that_does_not_linger_is_told_what_keeps_it(way: str) -> None:
    done = enter(way, f"{RUN} -d {images.NAME} sleep 1000", user="nosubid")
    assert done.returncode == 0, done.stderr
    assert "loginctl enable-linger nosubid" in done.stderr
