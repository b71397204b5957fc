"""Pods: containers that share namespaces, and are started, stopped and removed together."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.command import Command, is_podman
from tests.support.registry import free_port
from tests.system.test_network import talk

rpod_only = pytest.mark.skipif(is_podman(), reason="rpod's own")


@pytest.fixture
def pods(rpod: Command) -> Iterator[Command]:
    """The command; the pods that a test makes are removed after it."""
    yield rpod
    rpod("pod", "rm", "--force", "--all", "--time", "0", check=False)


def wait_for(test: Callable[[], bool], timeout_s: float = 10) -> None:
    end_s = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < end_s, "not within the time"
        time.sleep(0.05)


def state(command: Command, name: str) -> str:
    return command("pod", "inspect", "-f", "{{.State}}", name).out.strip()


def test_members_share_network_ipc_and_host_name(pods: Command, image: str) -> None:
    port = free_port()
    pods("pod", "create", "--name", "app", "-p", f"{port}:8080")
    script = "echo shared >/dev/shm/note; while :; do echo served | nc -l -p 8080; done"
    pods("run", "-d", "--pod", "app", "--name", "server", image, "sh", "-c", script)
    assert talk(port) == b"served\n"
    # What the members publish is what the pod does.
    assert pods("port", "server").out == f"8080/tcp -> 0.0.0.0:{port}\n"
    shown = pods("ps", "--filter", "name=server", "--format", "{{.Ports}}").out
    assert shown == f"0.0.0.0:{port}->8080/tcp\n"
    form = "{{range .NetworkSettings.Ports}}{{range .}}{{.HostPort}}{{end}}{{end}}"
    assert pods("inspect", "-f", form, "server").out == f"{port}\n"
    look = "hostname; cat /dev/shm/note; nc -w 2 127.0.0.1 8080 </dev/null; ps | grep -c nc"
    done = pods("run", "--rm", "--pod", "app", image, "sh", "-c", look)
    assert done.lines[:3] == ["app", "shared", "served"]
    namespaces = [
        pods("exec", "server", "readlink", f"/proc/self/ns/{kind}").out
        == pods("run", "--rm", "--pod", "app", image, "readlink", f"/proc/self/ns/{kind}").out
        for kind in ("net", "ipc", "uts", "pid", "mnt")
    ]
    assert namespaces == [True, True, True, False, False]
    assert state(pods, "app") == "Running"


def test_shared_pid_namespace_has_one_first_process(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--share", "pid,net")
    pods("run", "-d", "--pod", "app", "--name", "one", image, "sleep", "1000")
    done = pods("run", "--rm", "--pod", "app", image, "sh", "-c", "ps -o args; echo $$; hostname")
    assert "sleep 1000" in done.out
    assert done.lines[-2] != "1"
    assert done.lines[-1] != "app"
    # What a member leaves behind is reaped by the infra container.
    pods("exec", "one", "sh", "-c", "(sleep 0.1 &) ; exit 0")
    time.sleep(0.4)
    assert "[sleep]" not in pods("exec", "one", "ps").out
    pods("pod", "stop", "-t", "0", "app")
    assert state(pods, "app") == "Exited"


def test_nothing_shared(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--share", "none")
    done = pods("run", "--rm", "--pod", "app", "--hostname", "own", image, "hostname")
    assert done.out == "own\n"


def test_life_of_a_pod(pods: Command, image: str) -> None:
    pod_id = pods("pod", "create", "--name", "app").out.strip()
    assert state(pods, "app") == "Created"
    for name in ("one", "two"):
        at_once = ("--stop-signal", "KILL")
        pods("create", "--pod", "app", "--name", name, *at_once, image, "sleep", "1000")
    assert pods("pod", "start", "app").out.strip() == pod_id
    assert state(pods, "app") == "Running"
    refused = pods("pod", "rm", "app", check=False)
    assert refused.code != 0
    assert "without force" in refused.err
    pods("kill", "one")
    assert state(pods, "app") == "Degraded"
    assert pods("pod", "restart", "app").out.strip() == pod_id
    assert state(pods, "app") == "Running"
    assert pods("pod", "stop", "--time", "0", "app").out.strip() == pod_id
    assert state(pods, "app") == "Exited"
    assert pods("pod", "start", pod_id[:10]).code == 0
    assert pods("pod", "kill", "app").out.strip() == pod_id
    wait_for(lambda: state(pods, "app") == "Exited")
    assert pods("pod", "rm", "app").out.strip() == pod_id
    assert pods("ps", "-aq").out == ""
    assert pods("pod", "exists", "app", check=False).code == 1


def test_start_of_a_member_starts_what_it_shares(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    pods("create", "--pod", "app", "--name", "one", image, "sleep", "1000")
    pods("start", "one")
    assert state(pods, "app") == "Running"


def test_stop_asks_all_containers_at_once(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    for _ in range(3):
        pods("run", "-d", "--pod", "app", image, "sleep", "1000")  # ignores TERM as process 1
    began = time.monotonic()
    pods("pod", "stop", "--time", "1", "app")
    assert time.monotonic() - began < 2.5


def test_init_containers_run_first(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    volume = ("-v", "notes:/notes")
    for kind in ("once", "always"):
        pods("create", "--pod", "app", "--init-ctr", kind, "--name", kind, *volume, image,
             "sh", "-c", f"sleep 0.2; echo {kind} >>/notes/log")  # fmt: skip
    pods("create", "--pod", "app", "--name", "main", *volume, image,
         "sh", "-c", "echo main >>/notes/log; exec sleep 1000")  # fmt: skip
    pods("pod", "start", "app")
    wait_for(lambda: "main" in pods("exec", "main", "cat", "/notes/log").out)
    assert pods("exec", "main", "cat", "/notes/log").lines == ["once", "always", "main"]
    assert pods("container", "exists", "once", check=False).code == 1
    refused = pods("create", "--pod", "app", "--init-ctr", "always", image, "true", check=False)
    assert (refused.code, "cannot add init-ctr to a running pod" in refused.err) == (125, True)
    pods("pod", "stop", "-t", "0", "app")
    pods("pod", "start", "app")
    wait_for(lambda: pods("exec", "main", "cat", "/notes/log").lines[3:] == ["always", "main"])


def test_failing_init_container_keeps_the_others_from_starting(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    pods("create", "--pod", "app", "--init-ctr", "always", "--name", "setup", image, "false")
    pods("create", "--pod", "app", "--name", "main", image, "sleep", "1000")
    done = pods("pod", "start", "app", check=False)
    assert done.code == 125
    assert "exited with code 1" in done.err
    assert pods("inspect", "-f", "{{.State.Status}}", "main").out == "created\n"


def test_exit_policy_stops_the_infra_container(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--exit-policy", "stop")
    pods("run", "-d", "--pod", "app", image, "sleep", "0.2")
    wait_for(lambda: state(pods, "app") == "Exited")
    pods("pod", "create", "--name", "kept")
    pods("run", "-d", "--pod", "kept", "--name", "brief", image, "true")
    pods("wait", "brief")
    time.sleep(0.3)
    assert state(pods, "kept") == "Degraded"


def test_pod_restart_policy_is_for_those_without_one(pods: Command, image: str) -> None:
    if is_podman():
        pytest.skip("podman 5's")
    pods("pod", "create", "--name", "app", "--restart", "on-failure:1")
    pods("run", "-d", "--pod", "app", "--name", "one", image, "false")
    pods("run", "-d", "--pod", "app", "--name", "two", "--restart", "no", image, "false")
    wait_for(lambda: pods("inspect", "-f", "{{.RestartCount}}", "one").out == "1\n")
    assert pods("ps", "-a", "--filter", "name=one", "--format", "{{.Restarts}}").out == "1\n"
    assert pods("inspect", "-f", "{{.RestartCount}}", "two").out == "0\n"


def test_new_pod_gets_the_ports_and_the_name(pods: Command, image: str) -> None:
    port = free_port()
    script = "while :; do echo hi | nc -l -p 80; done"
    pods("run", "-d", "--pod", "new:fresh", "-p", f"{port}:80", "--name", "web", image, "sh", "-c",
         script)  # fmt: skip
    assert talk(port) == b"hi\n"
    document = json.loads(pods("pod", "inspect", "fresh").out)
    assert document["InfraConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == str(port)
    taken = pods("run", "--pod", "new:fresh", image, "true", check=False)
    assert (taken.code, "pod already exists" in taken.err) == (125, True)


@rpod_only
def test_failed_run_takes_its_new_pod_back(pods: Command, image: str) -> None:
    done = pods("run", "--pod", "new:fresh", "-v", "/nowhere:/x", image, "true", check=False)
    assert done.code == 125
    assert pods("pod", "exists", "fresh", check=False).code == 1
    assert pods("ps", "-aq").out == ""


def test_pod_id_file(pods: Command, image: str, account_dir: str) -> None:
    path = f"{account_dir}/pod-id"
    pod_id = pods("pod", "create", "--name", "app", "--pod-id-file", path).out.strip()
    pods("run", "-d", "--pod-id-file", path, "--name", "one", image, "sleep", "1000")
    assert pods("inspect", "-f", "{{.Pod}}", "one").out.strip() == pod_id
    again = pods("pod", "create", "--pod-id-file", path, check=False)
    assert again.code == 125
    pods("pod", "stop", "-t", "0", "--pod-id-file", path)
    assert state(pods, "app") == "Exited"


def test_listing_and_inspect(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--label", "tier=front")
    pods("run", "-d", "--pod", "app", "--name", "one", image, "sh", "-c", "echo said; sleep 1000")
    document = json.loads(pods("pod", "inspect", "app").out)
    infra = document["InfraContainerID"]
    assert sorted(document["SharedNamespaces"]) == ["ipc", "net", "uts"]
    assert document["NumContainers"] == 2
    assert {one["State"] for one in document["Containers"]} == {"running"}
    head, line = pods("pod", "ps").lines
    assert head.split("  ")[0] == "POD ID"
    assert head.endswith("# OF CONTAINERS")
    assert line.split()[:3] == [document["Id"][:12], "app", "Running"]
    assert line.split()[-2:] == [infra[:12], "2"]
    assert (
        pods("pod", "ps", "-q", "--no-trunc", "--filter", "label=tier=front").out.strip()
        == (document["Id"])
    )
    assert pods("pod", "ps", "-q", "--filter", "status=exited").out == ""
    listed = json.loads(pods("pod", "ps", "--format", "json").out)
    assert [one["Name"] for one in listed] == ["app"]
    assert pods("pod", "ps", "--format", "{{.Name}} {{.NumberOfContainers}}").out == "app 2\n"
    form = ("--pod", "--format", "{{.Names}} {{.PodName}}")
    rows = pods("ps", "--filter", "pod=app", *form).lines
    assert sorted(rows) == [f"{document['Id'][:12]}-infra app", "one app"]
    assert "PODNAME" in pods("ps", "--pod").lines[0]
    of_one = json.loads(pods("inspect", "one").out)[0]
    assert of_one["Pod"] == document["Id"]
    assert of_one["Dependencies"] == [infra]
    assert of_one["HostConfig"]["NetworkMode"] == f"container:{infra}"
    wait_for(lambda: "said" in pods("pod", "logs", "app").out)
    top = pods("pod", "top", "app", "args").out
    assert "sleep 1000" in top
    stats = pods("pod", "stats", "--no-stream", "app")
    assert stats.lines[0].split()[:3] == ["POD", "CID", "NAME"]
    assert any("one" in text for text in stats.lines[1:])


BAD = (
    (["run", "--pod", "nope", "IMAGE", "true"], "no pod with name or ID nope found"),
    (["run", "--pod", "app", "-p", "80:80", "IMAGE", "true"], "when the pod is created"),
    (["run", "--pod", "app", "--hostname", "x", "IMAGE", "true"], "cannot set hostname"),
    (["run", "--pod", "app", "--userns", "keep-id", "IMAGE", "true"], "--userns and --pod"),
    (["create", "--init-ctr", "always", "IMAGE"], "must specify pod value with init-ctr"),
    (["create", "--pod", "app", "--init-ctr", "x", "IMAGE"], "'always' or 'once'"),
    (["pod", "create", "--name", "app"], 'name "app" is in use'),
    (["pod", "create", "--name", "bad/name"], "names must match"),
    (["pod", "create", "--share", "bogus"], "invalid kernel namespace to share: bogus"),
    (["pod", "create", "--infra=false", "--share", "net"], "without an infra container"),
    (["pod", "create", "--infra=false", "-p", "1:1"], "must have an infra container"),
    (["pod", "create", "--exit-policy", "x"], "exit"),
    (["pod", "create", "--network", "none", "-p", "1:1"], ""),
    (["pod", "start", "nope"], "no such pod"),
    (["pod", "kill", "-s", "BAD", "app"], "invalid signal"),
    (["pod", "ps", "--filter", "foo=bar"], "filter"),
    (["pod", "ps", "--filter", "status=bad"], "not a valid pod status"),
)


def test_bad_input_is_refused(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    for argv, said in BAD:
        done = pods(*(image if word == "IMAGE" else word for word in argv), check=False)
        assert done.code == 125, done.told
        assert said in done.err, done.told
    assert pods("pod", "ps", "--format", "{{.Name}}").out == "app\n"
    assert pods("ps", "-aq").out.count("\n") == 1


def test_infra_container_goes_only_with_the_pod(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--infra-name", "holder")
    done = pods("rm", "-f", "holder", check=False)
    assert done.code == 125
    assert "cannot be removed without removing the pod" in done.err
    pods("pod", "rm", "app")
    assert pods("container", "exists", "holder", check=False).code == 1


def test_pod_without_infra_container(pods: Command, image: str) -> None:
    pods("pod", "create", "--infra=false", "--name", "app")
    assert pods("pod", "start", "app", check=False).code == 125
    pods("run", "-d", "--pod", "app", "--name", "one", image, "sleep", "1000")
    assert state(pods, "app") == "Running"
    pods("pod", "rm", "-f", "-t", "0", "app")
    assert pods("container", "exists", "one", check=False).code == 1


def test_volume_of_the_pod_is_in_every_container(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "-v", "common:/common")
    pods("run", "--rm", "--pod", "app", image, "sh", "-c", "echo left >/common/file")
    assert pods("run", "--rm", "--pod", "app", image, "cat", "/common/file").out == "left\n"


def test_prune_takes_what_has_ended(pods: Command, image: str) -> None:
    for name in ("new", "ended", "busy"):
        pods("pod", "create", "--name", name)
    for name in ("ended", "busy"):
        pods("pod", "start", name)
    pods("pod", "stop", "ended")
    pods("pod", "prune", "-f")
    assert sorted(pods("pod", "ps", "--format", "{{.Name}}").lines) == ["busy", "new"]


@rpod_only  # podman makes the pod, and fails with its infra container
def test_volume_that_is_not_there_is_refused(pods: Command, image: str) -> None:
    done = pods("pod", "create", "-v", "/nowhere:/x", check=False)
    assert (done.code, "/nowhere" in done.err) == (125, True)
    assert pods("pod", "ps", "-q").out == ""


def test_pod_in_a_user_defined_network(pods: Command, image: str) -> None:
    if is_podman():
        pytest.skip("no netavark here")
    pods("network", "create", "inner")
    try:
        pods("pod", "create", "--name", "app", "--network", "inner")
        script = "while :; do echo inside | nc -l -p 80; done"
        pods("run", "-d", "--pod", "app", image, "sh", "-c", script)
        look = "for i in 1 2 3 4 5; do nc -w 1 app 80 </dev/null && break; sleep 0.3; done"
        done = pods("run", "--rm", "--network", "inner", image, "sh", "-c", look)
        assert done.out == "inside\n"
        pods("pod", "rm", "-f", "-t", "0", "app")
    finally:
        pods("network", "rm", "-f", "inner", check=False)


def test_user_namespace_of_the_pod(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--userns", "keep-id")
    done = pods("run", "--rm", "--pod", "app", image, "sh", "-c", "id -u; cat /proc/self/uid_map")
    assert done.lines[0] == str(pods.account.uid)


@rpod_only
def test_infra_container_is_small_and_cannot_do_anything(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    pods("pod", "start", "app")
    infra = pods("pod", "inspect", "-f", "{{.InfraContainerID}}", "app").out.strip()
    pid = int(pods("inspect", "-f", "{{.State.Pid}}", infra).out)
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    assert int(status["VmRSS"].split()[0]) < 100
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"


@rpod_only
def test_killed_infra_container_is_seen_and_started_again(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    pods("run", "-d", "--pod", "app", "--stop-signal", "KILL", image, "sleep", "1000")
    infra = pods("pod", "inspect", "-f", "{{.InfraContainerID}}", "app").out.strip()
    os.kill(int(pods("inspect", "-f", "{{.State.ConmonPid}}", infra).out), signal.SIGKILL)
    wait_for(lambda: state(pods, "app") == "Degraded")
    pods("pod", "restart", "app")
    assert state(pods, "app") == "Running"


@rpod_only
@pytest.mark.parametrize("delay_s", [0.03, 0.06, 0.09, 0.12])
def test_killed_commands_leave_pods_that_can_be_used(
    pods: Command, image: str, delay_s: float
) -> None:
    for argv in (["pod", "create", "--name", "app"], ["pod", "rm", "-f", "-t", "0", "app"]):
        process = pods.spawn(*argv)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        if pods("pod", "exists", "app", check=False).code == 0:
            pods("run", "--rm", "--pod", "app", image, "true")
            assert state(pods, "app") == "Running"
            pods("pod", "stop", "-t", "0", "app")
        else:
            pods("pod", "create", "--name", "app")
    pods("pod", "rm", "-f", "app")
    assert pods("ps", "-aq").out == ""
    assert pods("pod", "ps", "-q").out == ""


@rpod_only  # podman 4.3 cannot copy a pod with volumes
def test_clone_has_what_the_other_has(pods: Command, image: str, account_dir: str) -> None:
    shared = ("--share", "ipc,net,uts,pid", "--label", "a=b", "-v", f"{account_dir}:/d")
    pods("pod", "create", "--name", "app", *shared)
    script = "hostname; ls -d /d; ps | grep -c '[s]leep'"
    pods("create", "--pod", "app", "--name", "one", "-e", "A=1", image, "sleep", "1000")
    assert len(pods("pod", "clone", "app").out.strip()) == 64
    pods("pod", "clone", "--start", "--hostname", "other", "--label", "c=d", "app", "second")
    assert state(pods, "app-clone") == "Created"
    assert state(pods, "second") == "Running"
    assert pods("exec", "one-clone1", "sh", "-c", script).lines == ["other", "/d", "1"]
    labels = pods("pod", "inspect", "-f", "{{json .Labels}}", "second").out
    assert '"a":"b"' in labels and '"c":"d"' in labels
    pods("pod", "clone", "--destroy", "app", "third")
    assert pods("pod", "exists", "app", check=False).code == 1
    names = pods("ps", "-a", "--pod", "--format", "{{.Names}} {{.PodName}}").lines
    assert {"one-clone app-clone", "one-clone1 second", "one-clone2 third"} < set(names)


def test_clone_that_fails_leaves_nothing(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app")
    pods("pod", "create", "--name", "taken")
    pods("create", "--pod", "app", "--name", "one", image, "true")
    for words in (("app", "taken"), ("app", "a/b"), ("absent", "x"), ("--volume", ":", "app")):
        done = pods("pod", "clone", *words, check=False)
        assert done.code == 125, done.told
    assert len(pods("pod", "ps", "-q").lines) == 2
    assert len(pods("ps", "-aq").lines) == 3


def test_container_is_cloned_into_a_pod(pods: Command, image: str) -> None:
    for name in ("app", "other"):
        pods("pod", "create", "--name", name)
    pods("create", "--name", "alone", image, "hostname")
    pods("create", "--name", "member", "--pod", "app", image, "hostname")
    pods("container", "clone", "--pod", "other", "alone")
    pods("container", "clone", "--pod", "other", "member")
    pods("start", "alone-clone", "member-clone")
    pods("wait", "alone-clone", "member-clone")
    assert [pods("logs", f"{name}-clone").out for name in ("alone", "member")] == ["other\n"] * 2


@rpod_only  # podman makes a namespace for each container
def test_pod_with_an_id_map_of_its_own(pods: Command, image: str) -> None:
    pods("pod", "create", "--name", "app", "--uidmap", "0:1:1000", "--gidmap", "0:1:1000")
    rows = pods("run", "--rm", "--pod", "app", image, "cat", "/proc/self/uid_map").out.split()
    assert (rows[0], rows[2]) == ("0", "1000")
    assert pods("run", "--rm", "--pod", "app", image, "id", "-u").out == "0\n"
