"""`commit`."""

import json
import time

import pytest

from tests.support.command import Command, is_podman

SCRIPT = (
    "echo new >/made; chown 1000:1000 /made; rm /bin/vi; rm -r /etc; mkdir /etc; echo e >/etc/x;"
    " ln /made /linked; touch /tmp/last; sleep 1000"
)


@pytest.fixture(params=["running", "stopped"])
def source(request: pytest.FixtureRequest, rpod: Command, image: str) -> str:
    rpod("run", "-d", "--name", "source", "-e", "ADDED=1", image, "sh", "-c", SCRIPT)
    end_s = time.monotonic() + 20
    while rpod("exec", "source", "test", "-e", "/tmp/last", check=False).code:
        assert time.monotonic() < end_s
    if request.param == "stopped":
        rpod("stop", "-t", "0", "source")
    return "source"


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_commit_keeps_what_was_done(rpod: Command, source: str, kind: str) -> None:
    image_id = rpod("commit", "-q", "-f", kind, source, "made:1").out.strip()
    try:
        assert rpod("inspect", "--format", "{{.Id}}", "made:1").out.strip() == image_id
        script = "cat /made; stat -c '%u:%g %h' /made; ls /bin/vi; cat /etc/x; ls /etc/group; env"
        done = rpod("run", "--rm", "made:1", "sh", "-c", script)
        assert done.lines[:3] == ["new", "1000:1000 2", "e"]
        assert "ADDED=1" in done.lines
        assert done.err.count("No such file") == 2
    finally:
        rpod("rmi", "-f", "made:1")


def test_commit_changes_the_configuration(rpod: Command, image: str, account_dir: str) -> None:
    rpod("create", "--name", "plain", image, "true")
    changes = (
        'CMD ["echo", "hello"]', "ENV A=b", "EXPOSE 80", "LABEL l=m", "USER 1000", "WORKDIR /tmp",
        "VOLUME /v", "STOPSIGNAL SIGINT",
    )  # fmt: skip
    words = [word for change in changes for word in ("-c", change)]
    iidfile = f"{account_dir}/iid"
    rpod("commit", "-q", "-a", "me", "--iidfile", iidfile, *words, "plain", "made:2")
    try:
        with open(iidfile, encoding="ascii") as file:
            assert rpod("inspect", "--format", "{{.Id}}", "made:2").out.strip() == file.read()
        config = json.loads(rpod("inspect", "made:2").out)[0]
        assert config["Author"] == "me"
        assert config["Config"]["Cmd"] == ["echo", "hello"]
        assert "A=b" in config["Config"]["Env"]
        assert config["Config"]["Labels"]["l"] == "m"
        assert config["Config"]["User"] == "1000"
        assert config["Config"]["WorkingDir"] == "/tmp"
        assert config["Config"]["StopSignal"] == ("2" if is_podman() else "SIGINT")
        assert rpod("run", "--rm", "made:2").out == "hello\n"
    finally:
        rpod("rmi", "-f", "made:2")


@pytest.mark.rpod_only
def test_commit_from_another_id_map(rpod: Command, image: str) -> None:
    rpod("run", "--name", "kept", "--userns=keep-id", "-u", "0", image, "sh", "-c", "echo x >/f")
    rpod("commit", "kept", "made:3")
    try:
        assert rpod("run", "--rm", "made:3", "stat", "-c", "%u:%g", "/f").out == "0:0\n"
    finally:
        rpod("rmi", "-f", "made:3")


def test_squash_makes_one_layer_of_everything(rpod: Command, source: str) -> None:
    rpod("commit", "-q", "--squash", source, "made:4")
    try:
        document = json.loads(rpod("inspect", "made:4").out)[0]
        assert len(document["RootFS"]["Layers"]) == 1
        assert len(document["History"]) == 1
        assert "ADDED=1" in document["Config"]["Env"]
        script = "cat /made; stat -c '%u:%g %h' /made; ls /bin/vi; cat /etc/x; ls /etc/group; ls /"
        done = rpod("run", "--rm", "made:4", "sh", "-c", script)
        assert done.lines[:3] == ["new", "1000:1000 2", "e"]
        assert done.err.count("No such file") == 2
        assert not any(line.startswith(".wh.") for line in done.lines)
    finally:
        rpod("rmi", "-f", "made:4")


@pytest.mark.parametrize("options", [(), ("--squash",)], ids=["layer", "squash"])
def test_volumes_become_volumes_of_the_image(
    rpod: Command, image: str, account_dir: str, options: tuple[str, ...]
) -> None:
    mounts = ("-v", "/data", "-v", "rpod-test-commit:/named", "-v", f"{account_dir}:/there:ro",
              "--tmpfs", "/fast", "--mount", "type=tmpfs,target=/other")  # fmt: skip
    rpod("run", "--name", "plain", *mounts, image, "sh", "-c", "echo x >/data/f")
    rpod("commit", "-q", *options, "plain", "made:5")
    rpod("commit", "-q", *options, "--include-volumes", "-c", "VOLUME /v", "plain", "made:6")
    try:
        volumes = [
            json.loads(rpod("inspect", name).out)[0]["Config"].get("Volumes")
            for name in ("made:5", "made:6")
        ]
        assert sorted(volumes[0]) == ["/data"]
        assert sorted(volumes[1]) == ["/data", "/fast", "/named", "/other", "/there", "/v"]
        # What is in a volume is no part of the image.
        assert rpod("run", "--rm", "made:6", "ls", "/data").out == ""
    finally:
        rpod("rmi", "-f", "made:5", "made:6")
        rpod("rm", "-f", "-v", "plain")
        rpod("volume", "rm", "rpod-test-commit")


CHANGES = """
    echo new >/new; ln /new /linked; ln -s new /soft; mkfifo /pipe; mkdir -p /dir/below
    echo x >/dir/below/x; chown 7:8 /dir/below/x; chmod 4755 /dir/below/x
    rm /bin/vi; rm -r /home/alice; rm -r /srv; echo file >/srv
    rm /etc/not-executable; mkdir /etc/not-executable; echo y >/etc/not-executable/y
    mv /usr/bin /usr/moved; rm -r /var; mkdir /var; chmod 700 /root
    date -r /etc/group >/dev/null; touch -r /etc/group /stamp
    sed s/audio/oidua/ /etc/group >/g; cat /g >/etc/group; rm /g; touch -r /stamp /etc/group
    rm /stamp; touch "/a b" /.whatever
"""
LOOK = """find / -xdev -print | grep -vE '^/(proc|dev|sys|run|etc/hosts)(/|$)' |
    sort | while read -r one; do stat -c '%n %f %u:%g %s' "$one"; done
    sha256sum /etc/group /new /dir/below/x /bin/busybox; readlink /soft; stat -c %h /new"""


@pytest.mark.rpod_only
@pytest.mark.parametrize("userns", ["", "keep-id"])
def test_every_driver_makes_the_same_layer(rpod: Command, image: str, userns: str) -> None:
    options = ("--network=none", "--user=0", *(("--userns", userns) if userns else ()))
    looks = set()
    try:
        for driver in ("overlay", "fuse-overlayfs", "copy"):
            name = f"made:{driver}"
            rpod("--storage-driver", driver, "run", "--name", driver, *options, image,
                 "sh", "-ec", CHANGES)  # fmt: skip
            rpod("commit", "-q", driver, name)
            layers = json.loads(rpod("inspect", name).out)[0]["RootFS"]["Layers"]
            below = json.loads(rpod("inspect", image).out)[0]["RootFS"]["Layers"]
            assert layers[:-1] == below
            looks.add(rpod("run", "--rm", "--network=none", name, "sh", "-c", LOOK).out)
    finally:
        rpod("rmi", "-f", *(f"made:{one}" for one in ("overlay", "fuse-overlayfs", "copy")),
             check=False)  # fmt: skip
    (found,) = looks
    assert "/usr/moved/env" in found
    for gone in ("/bin/vi ", "/home/alice", "/usr/bin", "/stamp", "/.wh"):
        assert gone not in found.replace("/.whatever", "")
    assert "/dir/below/x 89ed 7:8 2\n" in found


def test_bad_changes_are_refused(rpod: Command, image: str) -> None:
    rpod("create", "--name", "plain", image, "true")
    for words in (("-c", "NONSENSE x", "plain"), ("plain", "UPPER:1"), ("nothing", "x")):
        assert rpod("commit", *words, check=False).code == 125
