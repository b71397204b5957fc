"""system reset: everything of rpod's goes, and nothing else."""

import os
import signal
import time

import pytest

from tests.support import accounts
from tests.support.command import Command

pytestmark = pytest.mark.rpod_only


def fill(rpod: Command, archive: str) -> None:
    rpod("load", "-q", "-i", archive)
    image = rpod("images", "-q").lines[0]
    owned = "touch /data/a /b; chown 5:6 /data/a /b; sleep 99"
    rpod("run", "-d", "--name", "one", "-v", "data:/data", image, "sh", "-c", owned)
    rpod("run", "-d", "--restart", "always", "--pod", "new:two", image, "sleep", "99")
    rpod("create", "--name", "three", "--network", "container:one", image, "sleep", "99")
    rpod("init", "three")
    rpod("network", "create", "net")
    rpod("secret", "create", "hidden", "-", input=b"s")
    rpod("build", "-q", "-t", "made", "-", input=f"FROM {image}\nRUN touch /c\n".encode())


def test_all_of_it_goes(fresh_rpod: Command, docker_archive: str) -> None:
    rpod = fresh_rpod
    fill(rpod, docker_archive)
    store = f"{rpod.environment['XDG_DATA_HOME']}/rpod"
    done = rpod("system", "reset", input=b"n\n")
    assert "WARNING! This will remove:" in done.out and store in done.out
    assert len(rpod("ps", "-q").lines) == 3
    rpod("system", "reset", "--force")
    assert not os.path.exists(store)
    assert os.listdir(f"{rpod.environment['XDG_RUNTIME_DIR']}/rpod") == []
    assert rpod("images", "-q").out == ""


def test_what_is_not_ours_stays(fresh_rpod: Command, docker_archive: str) -> None:
    rpod = fresh_rpod
    fill(rpod, docker_archive)
    store = f"{rpod.environment['XDG_DATA_HOME']}/rpod"
    rpod.shell(
        f"cd {store}; mkdir images/mine volumes/plain elsewhere; echo a >notes"
        f"; ln -s $HOME volumes/link; ln -s $HOME containers/{'a' * 64}"
    )
    rpod("system", "reset", "-f")
    assert os.path.isdir(rpod.environment["HOME"])
    left = sorted(rpod.shell(f"cd {store}; find . -mindepth 1").lines)
    assert left == ["./elsewhere", "./images", "./images/mine", "./notes", "./volumes",
                    "./volumes/link", "./volumes/plain"]  # fmt: skip


@pytest.mark.parametrize("directory", ["/", "$HOME", "$HOME/absent", "/usr"])
def test_what_is_no_store_is_refused(fresh_rpod: Command, directory: str) -> None:
    done = fresh_rpod.shell(f"mkdir -p $HOME/kept; $RPOD --root {directory} system reset -f",
                            check=False)  # fmt: skip
    assert done.code == 125, done.told
    assert "nothing was removed" in done.err
    assert fresh_rpod.shell("ls -d $HOME/kept").code == 0


def test_a_store_around_the_home_is_refused(fresh_rpod: Command) -> None:
    script = """mkdir -p $HOME/in; export HOME=$HOME/in; $RPOD --root ${HOME%/in} images -q
    $RPOD --root ${HOME%/in} system reset -f"""
    done = fresh_rpod.shell(script, check=False)
    assert done.code == 125 and "your home directory is in it" in done.err


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3, 0.5])
def test_killed_reset_is_finished_by_the_next(
    fresh_rpod: Command, docker_archive: str, delay_s: float
) -> None:
    rpod = fresh_rpod
    rpod("load", "-q", "-i", docker_archive)
    image = rpod("images", "-q").lines[0]
    for name in ("one", "two", "three"):
        rpod("run", "-d", "--name", name, image, "sleep", "99")
    process = rpod.spawn("system", "reset", "-f")
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rpod("ps", "-a")
    rpod("system", "reset", "-f")
    assert not os.path.exists(f"{rpod.environment['XDG_DATA_HOME']}/rpod")
    assert not [one for one in accounts.processes(rpod.account.owns) if one.name == "sleep"]


def test_beside_a_command_that_works(fresh_rpod: Command, docker_archive: str) -> None:
    rpod = fresh_rpod
    rpod("load", "-q", "-i", docker_archive)
    image = rpod("images", "-q").lines[0]
    rpod.shell(f"mkdir $HOME/c; printf 'FROM {image}\nRUN sleep 30\n' >$HOME/c/Containerfile")
    build = rpod.spawn("build", f"{rpod.environment['HOME']}/c")
    while not rpod.shell("ls $XDG_DATA_HOME/rpod/tmp").out.count("build"):
        time.sleep(0.05)
    done = rpod("system", "reset", "-f", check=False)
    assert done.code == 125 and "another command works in it" in done.err
    build.kill()
    build.communicate()
    rpod("system", "reset", "-f")
