"""What a container sees and may do: namespaces, mounts, devices, capabilities, limits."""

import os

import pytest

from tests.support.command import Command

DEFAULT_CAPABILITIES = 0x800405FB


def lines(rpod: Command, image: str, script: str, *options: str) -> list[str]:
    """Run a shell script in a container; return its output lines."""
    return rpod("run", "--rm", *options, image, "sh", "-c", script).lines


def status_fields(text: list[str]) -> dict[str, str]:
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text}


@pytest.mark.parametrize("name", ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"])
def test_every_namespace_is_new(rpod: Command, image: str, name: str) -> None:
    assert lines(rpod, image, f"readlink /proc/self/ns/{name}") != [
        os.readlink(f"/proc/self/ns/{name}")
    ]


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--network=host", "net"),
        ("--pid=host", "pid"),
        # podman wants /dev/mqueue of the host, which not every machine has
        pytest.param("--ipc=host", "ipc", marks=pytest.mark.rpod_only),
        ("--uts=host", "uts"),
    ],
)
def test_a_namespace_can_be_that_of_the_host(
    rpod: Command, image: str, option: str, name: str
) -> None:
    inside = lines(rpod, image, f"readlink /proc/self/ns/{name}", option)
    assert inside == [os.readlink(f"/proc/self/ns/{name}")]


def test_ids_are_those_of_the_account(rpod: Command, image: str) -> None:
    account = rpod.account
    found = [line.split() for line in lines(rpod, image, "cat /proc/self/uid_map")]
    first, count = account.subordinate[0]
    assert found == [["0", str(account.uid), "1"], ["1", str(first), str(count)]]


def test_keep_id_maps_the_caller_to_the_own_number(rpod: Command, image: str) -> None:
    found = lines(rpod, image, "id -u; id -g; cat /proc/self/uid_map", "--userns=keep-id")
    account = rpod.account
    assert found[:2] == [str(account.uid), str(account.gid)]
    assert any(line.split()[0] == str(account.uid) for line in found[2:])


def test_first_process_is_the_command(rpod: Command, image: str) -> None:
    assert lines(rpod, image, "echo $$; cat /proc/1/comm; true") == ["1", "sh"]


def test_only_processes_of_the_container_are_seen(rpod: Command, image: str) -> None:
    assert len(lines(rpod, image, "ls -d /proc/[0-9]*")) <= 2


def test_default_capabilities(rpod: Command, image: str) -> None:
    found = status_fields(lines(rpod, image, "grep ^Cap /proc/self/status"))
    values = {name: int(value, 16) for name, value in found.items()}
    assert values["CapEff"] == values["CapPrm"] == values["CapBnd"] == DEFAULT_CAPABILITIES
    assert values["CapAmb"] == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["--cap-drop=all"], 0, id="drop all"),
        pytest.param(["--cap-drop=all", "--cap-add=chown"], 1, id="add beats drop all"),
        pytest.param(["--cap-drop=CAP_CHOWN"], DEFAULT_CAPABILITIES & ~1, id="drop one"),
        pytest.param(["--cap-add=net_raw"], DEFAULT_CAPABILITIES | 1 << 13, id="add one"),
    ],
)
def test_capability_options(rpod: Command, image: str, options: list[str], expected: int) -> None:
    found = status_fields(lines(rpod, image, "grep ^Cap /proc/self/status", *options))
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == expected


def test_unknown_capability_is_refused(rpod: Command, image: str) -> None:
    done = rpod("run", "--rm", "--cap-add=FLY", image, "true", check=False)
    assert done.code == 125, done.told
    assert "FLY" in done.err


def test_seccomp_filters(rpod: Command, image: str) -> None:
    assert status_fields(lines(rpod, image, "grep Seccomp: /proc/self/status")) == {"Seccomp": "2"}


def test_seccomp_unconfined(rpod: Command, image: str) -> None:
    option = "--security-opt=seccomp=unconfined"
    found = lines(rpod, image, "grep Seccomp: /proc/self/status", option)
    assert status_fields(found) == {"Seccomp": "0"}


def test_no_new_privileges(rpod: Command, image: str) -> None:
    query = "grep NoNewPrivs /proc/self/status"
    assert status_fields(lines(rpod, image, query)) == {"NoNewPrivs": "0"}
    option = "--security-opt=no-new-privileges"
    assert status_fields(lines(rpod, image, query, option)) == {"NoNewPrivs": "1"}


def test_privileged_has_everything_but_stays_in_its_namespace(rpod: Command, image: str) -> None:
    query = "grep -E '^(CapEff|Seccomp):' /proc/self/status"
    found = status_fields(lines(rpod, image, query, "--privileged"))
    assert int(found["CapEff"], 16) & DEFAULT_CAPABILITIES == DEFAULT_CAPABILITIES
    assert int(found["CapEff"], 16).bit_count() > 30
    assert found["Seccomp"] == "0"


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/timer_list", "/proc/keys", "/sys/firmware"])
def test_masked_paths_are_empty(rpod: Command, image: str, path: str) -> None:
    if not os.path.exists(path):
        assert lines(rpod, image, f"test -e {path} || echo none") == ["none"]
        return
    assert (
        lines(rpod, image, f"if test -d {path}; then ls -A {path}; else head -c1 {path}; fi") == []
    )


@pytest.mark.parametrize("path", ["/proc/sys/kernel/domainname", "/proc/irq", "/sys/kernel"])
def test_read_only_paths(rpod: Command, image: str, path: str) -> None:
    target = f"{path}/new" if os.path.isdir(path) else path
    done = rpod("run", "--rm", image, "sh", "-c", f"echo x >{target}", check=False)
    assert done.code != 0, done.told
    assert "Read-only" in done.err or "ermission" in done.err or "nonexist" in done.err, done.told


def test_devices(rpod: Command, image: str) -> None:
    found = set(" ".join(lines(rpod, image, "ls /dev")).split())
    wanted = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue"}
    wanted |= {"fd", "stdin", "stdout", "stderr"}
    assert wanted <= found
    assert found - wanted <= {"core", "console"}


def test_devices_work(rpod: Command, image: str) -> None:
    script = (
        "head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x >/dev/null; echo $?"
    )
    assert lines(rpod, image, script) == ["4", "4", "0"]


def test_only_mounts_of_the_container(rpod: Command, image: str) -> None:
    allowed = ("/", "/proc", "/dev", "/sys", "/etc/", "/run/")
    for line in lines(rpod, image, "cut -d' ' -f5 /proc/self/mountinfo"):
        assert line == "/" or line.startswith(allowed[1:]), line


def test_root_of_the_host_is_out_of_reach(rpod: Command, image: str) -> None:
    assert lines(rpod, image, "ls /..; ls /proc/1/root/") == 2 * lines(rpod, image, "ls /")


def test_container_environment_file_is_there(rpod: Command, image: str) -> None:
    assert lines(rpod, image, "test -f /run/.containerenv && echo yes") == ["yes"]


def test_writable_root_is_thrown_away(rpod: Command, image: str) -> None:
    assert lines(rpod, image, "echo changed >/etc/passwd; rm -r /srv; cat /etc/passwd") == [
        "changed"
    ]
    assert "root:x:0:0" in lines(rpod, image, "ls -d /srv >&2; head -1 /etc/passwd")[0]


def test_read_only_root(rpod: Command, image: str) -> None:
    script = (
        "touch /new 2>/dev/null || echo refused; for d in tmp run; do touch /$d/x && echo $d; done"
    )
    assert lines(rpod, image, script, "--read-only") == ["refused", "tmp", "run"]


def test_files_belong_to_the_users_of_the_image(rpod: Command, image: str) -> None:
    script = "chown 1234:4321 /srv; stat -c %u:%g /srv; su alice -c 'id -u' 2>/dev/null"
    assert lines(rpod, image, script)[0] == "1234:4321"


def test_root_of_the_container_is_nobody_outside(
    rpod: Command, image: str, account_dir: str
) -> None:
    rpod.shell(f"touch {account_dir}/mine")
    script = "stat -c %u /data/mine; touch /data/made; cat /data/../etc/shadow"
    rpod("run", "--rm", "-v", f"{account_dir}:/data", image, "sh", "-c", script, check=False)
    assert os.stat(f"{account_dir}/made").st_uid == rpod.account.uid


def test_sysctl_in_the_network_namespace(rpod: Command, image: str) -> None:
    option = "--sysctl=net.ipv4.ip_forward=1"
    assert lines(rpod, image, "cat /proc/sys/net/ipv4/ip_forward", option) == ["1"]


def test_oom_score_adj(rpod: Command, image: str) -> None:
    assert lines(rpod, image, "cat /proc/self/oom_score_adj", "--oom-score-adj=500") == ["500"]


def test_exec_has_the_oom_score_of_the_container(rpod: Command, image: str) -> None:
    rpod("run", "-d", "--name", "o", "--oom-score-adj=500", "--user=1000", image, "sleep", "1000")
    assert rpod("exec", "o", "cat", "/proc/self/oom_score_adj").lines == ["500"]


def test_default_limits_are_clamped_to_those_of_the_caller(rpod: Command, image: str) -> None:
    own = int(rpod.shell("ulimit -Hn").out)
    assert int(lines(rpod, image, "ulimit -Hn")[0]) == min(own, 1_048_576)
