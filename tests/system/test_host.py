"""doctor and info, hosts that lack something, and what is our own about ports."""

import json
import os
import shutil

import pytest

from tests.support.accounts import Account
from tests.support.command import Command
from tests.support.registry import free_port
from tests.system.conftest import make_command
from tests.system.test_network import NETWORK, talk

pytestmark = pytest.mark.rpod_only


def test_doctor_succeeds_here(rpod: Command) -> None:
    assert "fail" not in {line.split()[0] for line in rpod("doctor").lines}


def test_doctor_tells_machines_the_same(rpod: Command) -> None:
    checks = json.loads(rpod("doctor", "--format", "json").out)
    assert {"id", "title", "status", "found", "chosen", "cause", "fix"} == set(checks[0])
    assert {check["id"] for check in checks} >= {"namespaces", "idmap", "overlay", "slirp4netns"}


def test_doctor_fails_without_a_place_for_the_store(rpod: Command) -> None:
    done = rpod("doctor", env={"RPOD_ROOT": "/nonexistent/store"}, check=False)
    assert done.code == 1, done.told
    assert "fail  store: /nonexistent/store\n" in done.out


def test_doctor_tells_where_the_store_of_a_missing_home_is(rpod: Command) -> None:
    done = rpod("doctor", env={"HOME": "/nonexistent"})
    assert "/nonexistent cannot be made: Permission denied: images and containers are" in done.out


def test_store_without_a_home_is_on_this_machine(rpod: Command, busybox_tar: str) -> None:
    """It is said in one line, and works."""
    home = {"HOME": "/nonexistent"}
    done = rpod("import", busybox_tar, "localhost/homeless", env=home)
    assert len(done.err.splitlines()) <= 2, done.told  # progress, and the note
    assert "/nonexistent" in done.err.splitlines()[-1]
    assert rpod("run", "--rm", "localhost/homeless", "echo", "ran", env=home).out == "ran\n"
    rpod("rmi", "localhost/homeless", env=home)


def test_named_store_that_cannot_be_made_is_one_clear_line(rpod: Command, image: str) -> None:
    done = rpod("--root=/nonexistent/store", "run", image, "true", check=False)
    assert done.code == 125, done.told
    assert done.err.splitlines()[0].startswith("Error: make the store /nonexistent/store: ")


def test_stale_runtime_directory_is_no_obstacle(fresh_rpod: Command) -> None:
    done = fresh_rpod("ps", env={"XDG_RUNTIME_DIR": "/run/user/4294967293"})
    assert done.err == ""


def test_info_works_without_a_place_for_the_store(rpod: Command) -> None:
    found = json.loads(rpod("info", "--format", "json", env={"HOME": "/nonexistent"}).out)
    assert f"/rpod-node-{rpod.account.uid}/" in found["store"]["graphRoot"]


def test_info_counts_containers(rpod: Command, image: str) -> None:
    rpod("run", "-d", image, "sleep", "100")
    rpod("create", image, "true")
    counted = rpod("info", "--format", "{{.Store.ContainerStore}}").out
    found = json.loads(rpod("info", "--format", "json").out)["store"]["containerStore"]
    assert found == {"number": 2, "paused": 0, "running": 1, "stopped": 1}, counted


def test_configured_network_is_the_default(rpod: Command, image: str, account_dir: str) -> None:
    directory = f"{account_dir}/rpod"
    os.mkdir(directory)
    with open(f"{directory}/rpod.toml", "w", encoding="utf-8") as file:
        file.write('network = "none"\n')
    os.chmod(directory, 0o755)
    done = rpod("run", "--rm", image, "ip", "addr", env={"XDG_CONFIG_HOME": account_dir})
    assert "tap0" not in done.out


def test_wrong_configuration_names_the_file(rpod: Command, account_dir: str) -> None:
    path = f"{account_dir}/wrong.toml"
    with open(path, "w", encoding="utf-8") as file:
        file.write("colour = 1\n")
    done = rpod("ps", env={"RPOD_CONFIG": path}, check=False)
    assert done.code == 125, done.told
    assert f"Error: configuration {path}: unknown key 'colour'" in done.err


def test_publish_all_adds_to_publish(rpod: Command, image: str) -> None:
    port = free_port()
    publish = ("-p", f"{port}:81", "-P", "--expose", "80", "--expose", "81")
    rpod("run", "-d", "--name", "web", NETWORK, *publish, image, "sleep", "100")
    lines = rpod("port", "web").lines
    assert f"81/tcp -> 0.0.0.0:{port}" in lines
    assert len(lines) == 2


def test_udp_port_says_what_it_lacks(rpod: Command, image: str) -> None:
    port = free_port()
    network = "--network=slirp4netns:port_handler=slirp4netns"
    done = rpod("run", "--rm", network, "-p", f"{port}:53/udp", image, "true")
    assert "published UDP ports answer clients of other machines only" in done.err


@pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed")
def test_pasta_publishes_a_port(rpod: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    publish = ("-p", f"127.0.0.1:{port}:80")
    rpod("run", "-d", "--network=pasta", *publish, image, "sh", "-c", script)
    assert talk(port) == b"hi\n"


_RUNGS = ("identity", "emulation", "root", "cgroup", "network", "locks")


def test_doctor_names_each_rung_and_what_would_raise_it(
    account: Account, account_without_ids: Account
) -> None:
    """The top rung has nothing to raise; any other has a cause and an action."""
    found = {}
    for person in (account, account_without_ids):
        done = make_command(person, person.environment())("doctor", "--format", "json")
        rungs = {check["id"]: check for check in json.loads(done.out) if "rung-" in check["id"]}
        assert list(rungs) == [f"rung-{name}" for name in _RUNGS]
        for rung in rungs.values():
            assert rung["found"]
            assert (rung["status"] == "warn") == bool(rung["cause"]) == bool(rung["fix"])
        found[person.name] = rungs
    with_range, single = found[account.name], found[account_without_ids.name]
    assert with_range["rung-identity"]["status"] == "ok"
    assert single["rung-identity"]["found"] == "one id"
    assert "usermod --add-subuids" in single["rung-identity"]["fix"]
    assert single["rung-emulation"]["found"].startswith("a supervisor answers")


@pytest.mark.rpod_only
def test_called_docker_it_has_the_fields_of_docker(rpod: Command, account_dir: str) -> None:
    rpod.shell(f"ln -s $RPOD {account_dir}/docker")
    fields = "{{.Server.Version}} {{.Client.Version}} {{.Server.Os}}/{{.Server.Arch}}"
    words = rpod.shell(f"{account_dir}/docker version --format '{fields}'").out.split()
    assert words[0] == words[1]
    assert words[0].split(".")[0].isdecimal()
    assert words[2].startswith("linux/")
    fields = "{{.ServerVersion}} {{.OSType}} {{.NCPU}} {{.host.arch}}"
    words = rpod.shell(f"{account_dir}/docker info --format '{fields}'").out.split()
    assert words[1] == "linux" and int(words[2]) > 0
    assert rpod("info", "--format", "{{.ServerVersion}}", check=False).code == 125
