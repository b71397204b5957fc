"""events: what podman tells, with its words and members."""

import json
import time

import pytest

from tests.support.command import Command, is_podman


@pytest.fixture
def since() -> str:
    """The moment at which the test begins."""
    return f"{time.time():.6f}"


def told(rpod: Command, since: str, *filters: str) -> list[dict[str, object]]:
    """Return the events that pass all filters."""
    options = [word for text in filters for word in ("--filter", text)]
    done = rpod("events", "--since", since, "--stream=false", "--format", "json", *options)
    return [json.loads(line) for line in done.lines]


def test_events_tell_the_life_of_a_container(rpod: Command, image: str, since: str) -> None:
    rpod("run", "--name", "life", "--label", "kind=x", image, "sh", "-c", "exit 3", check=False)
    rpod("rm", "life")
    done = rpod("events", "--since", since, "--stream=false", "--filter", "container=life",
                "--format", "{{.Status}} {{.ContainerExitCode}}")  # fmt: skip
    steps = ["create 0", "init 0", "start 0", "attach 0", "died 3", "cleanup 0", "remove 0"]
    assert done.lines == steps
    lines = rpod("events", "--since", since, "--stream=false", "--format", "json",
                 "--filter", "label=kind=x", "--filter", "event=died").lines  # fmt: skip
    event = json.loads(lines[-1])
    assert (event["Name"], event["Type"], event["ContainerExitCode"]) == ("life", "container", 3)


def test_events_are_followed(rpod: Command, image: str) -> None:
    follower = rpod.spawn("events", "--filter", "event=create", "--format", "{{.Name}}")
    try:
        assert follower.stdout is not None
        time.sleep(0.5)
        rpod("create", "--name", "seen", image)
        assert follower.stdout.readline() == b"seen\n"
    finally:
        follower.kill()
        follower.communicate()


@pytest.mark.rpod_only  # podman 4.3 finds nothing and exits with 0
def test_unknown_filter_of_events_is_refused(rpod: Command) -> None:
    done = rpod("events", "--stream=false", "--filter", "colour=red", check=False)
    assert done.code == 125


def test_events_of_exec_carry_its_exit_code(rpod: Command, image: str, since: str) -> None:
    rpod("run", "-d", "--name", "x", "--label", "a=b", image, "sleep", "100")
    rpod("exec", "x", "sh", "-c", "exit 4", check=False)
    begun, ended = (
        told(rpod, since, "type=container", f"event={one}")[-1] for one in ("exec", "exec_died")
    )
    common = {"ID", "Image", "Name", "Status", "Time", "Type", "Attributes"}
    assert begun.keys() == common
    assert ended.keys() == common | {"ContainerExitCode"}
    assert ended["ContainerExitCode"] == 4
    assert begun["Attributes"] == {"a": "b", "made.for": "tests"}  # the label of the image too
    assert str(begun["Time"])[-1] == "Z" or time.localtime().tm_gmtoff


@pytest.mark.rpod_only  # podman's cleanup is a process that may come late, or not at all
def test_events_after_a_rename_have_the_new_name(rpod: Command, image: str, since: str) -> None:
    rpod("run", "-d", "--name", "old", image, "sleep", "100")
    rpod("rename", "old", "new")
    rpod("restart", "-t0", "new")
    rpod("rm", "-f", "-t0", "new")
    lines = rpod("events", "--since", since, "--stream=false", "--filter", "container=new",
                 "--format", "{{.Status}}").lines  # fmt: skip
    assert [one for one in lines if one != "stop"] == [
        "rename", "restart", "died", "cleanup", "init", "start", "died", "cleanup", "remove",
    ]  # fmt: skip


def test_volumes_have_events(rpod: Command, image: str, since: str) -> None:
    rpod("volume", "create", "made")
    rpod("volume", "rm", "made")
    rpod("create", "-v", "implied:/v", image)
    rpod("rm", "--all")
    rpod("volume", "create", "--label", "x=1", "pruned")
    rpod("volume", "prune", "-f", *(() if is_podman() else ("--all",)), "--filter", "label=x")
    events = told(rpod, since, "type=volume")
    assert [(one["Status"], one["Name"]) for one in events] == [
        ("create", "made"), ("remove", "made"), ("create", "implied"), ("create", "pruned"),
        ("remove", "pruned"), ("prune", "pruned"),
    ]  # fmt: skip
    assert events[0].keys() == {"Name", "Status", "Time", "Type", "Attributes"}
    assert events[0]["Attributes"] is None


def test_images_have_events(
    fresh_rpod: Command, docker_archive: str, image: str, since: str
) -> None:
    rpod = fresh_rpod
    rpod("load", "-qi", docker_archive)
    image_id = rpod("images", "-q", "--no-trunc", image).out.strip().removeprefix("sha256:")
    saved = f"{rpod.environment['HOME']}/saved.tar"
    rpod("tag", image, "localhost/other:1")
    rpod("save", "-q", "-o", saved, image)
    rpod("push", "-q", image, f"oci-archive:{saved}.oci")
    rpod("untag", image, "localhost/other:1")
    rpod("run", "--name", "c", image, "touch", "/new")
    rpod("commit", "-q", "c", "localhost/made:1")
    rpod("rmi", "localhost/made:1")
    events = [one for one in told(rpod, since, "type=image") if one["Status"] != "pull"]
    assert [(one["Status"], one["Name"]) for one in events if one["Name"]] == [
        ("loadfromarchive", docker_archive),
        ("tag", "localhost/other:1"),
        ("save", saved),
        ("push", f"oci-archive:{saved}.oci"),
        ("untag", "localhost/other:1"),
        ("untag", "localhost/made:1"),
        ("remove", "localhost/made:1"),
    ]
    assert events[1]["ID"] == image_id
    assert told(rpod, since, "type=container", "event=commit")[0]["Name"] == "c"


def test_pods_and_their_containers_have_events(rpod: Command, image: str, since: str) -> None:
    pod_id = rpod("pod", "create", "--name", "p").out.strip()
    rpod("create", "--pod", "p", "--name", "member", image)
    (event,) = told(rpod, since, "type=container", "container=member")
    assert event["PodID"] == pod_id
    (event,) = told(rpod, since, "type=pod", "pod=p")
    assert event.keys() == {"ID", "Name", "Status", "Time", "Type", "Attributes"}
    line = rpod("events", "--since", since, "--stream=false", "--filter", "type=pod").lines[-1]
    assert line.endswith(f" pod create {pod_id} (image=, name=p)")
    rpod("pod", "rm", "-f", "p")
