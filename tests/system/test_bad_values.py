"""A value that cannot be is refused in one line with the option's name, and nothing is made."""

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only  # podman takes some of them, and has other words for the rest

BAD = (
    "--workdir=rel", "--stop-signal=FOO", "--group-add=nobody9", "--cap-add=FOO", "--cap-drop=FOO",
    "--volume=rel:rel2", "--volume=a:b:c:d", "--volume=:/x", "--tmpfs=rel", "--tmpfs=/t:foo=1",
    "--volumes-from=nope", "--requires=nope", "--arch=foo/bar", "--os=a b", "--variant=!",
    "--platform=-", "--platform=a/b/c/d", "--cgroupns=foo", "--hostname=a b", "--dns-search=a b",
    "--dns=nope", "--dns-option=a b", "--health-interval=soon", "--health-timeout=x",
    "--health-retries=-1", "--health-start-period=x", "--health-on-failure=boo", "--ulimit=foo=1",
    "--ulimit=nofile=a", "--umask=9", "--oom-score-adj=2000", "--shm-size=x", "--pids-limit=x",
    "--memory=x", "--cpus=x", "--restart=foo", "--ipc=foo", "--pid=foo", "--uts=foo",
    "--userns=foo", "--mac-address=zz", "--ip=1.2.3", "--add-host=foo", "--env-file=/nope",
    "--label-file=/nope", "--device=/nope", "--device=rel", "--gpus=x", "--sysctl=foo",
    "--sysctl=kernel.foo=1", "--security-opt=foo", "--security-opt=seccomp=/nope",
    "--log-driver=foo", "--log-opt=foo=1", "--log-opt=max-size=x", "--mount=type=foo",
    "--mount=type=bind", "--secret=nope", "--annotation=foo", "--image-volume=foo", "--pull=foo",
    "--systemd=foo", "--sdnotify=foo", "--timeout=x", "--timeout=-5", "--stop-timeout=x",
    "--tz=Foo/Bar", "--uidmap=1", "--gidmap=a:b:c", "--hostuser=nobody9", "--user=nobody9",
    "--cgroups=foo", "--env==x", "--label==x", "--pod=nope", "--cidfile=/nope/x",
    "--pidfile=/nope/x", "--blkio-weight=5", "--cpuset-cpus=x", "--device-read-bps=x",
    "--attach=foo", "--creds=nocolon", "--passwd-entry=garbage", "--group-entry=a:b",
    "--dns-search=-x", "--dns-search=a..b", "--security-opt=mask=", "--security-opt=mask=rel",
    "--security-opt=unmask=", "--health-startup-interval=1s", "--health-startup-retries=3",
    "--network=container:nope", "--pid=container:nope", "--userns=container:nope",
    "--volume=/nope:/x", "--volume=/tmp:/x:ro,rw", "--tmpfs=/t:mode=9", "--tmpfs=/t:size=big",
    "--stop-timeout=-2",
)  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_value_is_refused_before_anything_is_made(rpod: Command, image: str, text: str) -> None:
    option, _, value = text.partition("=")
    done = rpod("create", text, image, "true", check=False)
    assert done.code == 125
    line = done.err.splitlines()[0]
    assert line.startswith("Error: ")
    assert option in line
    if option not in ("--creds", "--ip", "--mac-address"):  # a password; refused whatever they say
        assert value.partition("=")[0].split(":")[0][:4] in line
    assert rpod("ps", "-aq").out == ""


def test_missing_source_is_told_with_its_option(rpod: Command, image: str) -> None:
    done = rpod("create", "--mount=type=bind,src=/nope,dst=/x", image, check=False)
    assert done.code == 125
    assert done.err.startswith("Error: --mount: mount /nope: no such file")


@pytest.mark.parametrize("option", ["--env==x", "--user=nobody9", "--env-file=/nope"])
def test_bad_value_of_exec_is_refused(rpod: Command, image: str, option: str) -> None:
    rpod("run", "-d", "--name", "x", image, "sleep", "100")
    done = rpod("exec", option, "x", "true", check=False)
    assert done.code == 125
    assert option.partition("=")[2].lstrip("=") in done.err


@pytest.mark.parametrize(
    "options",
    [
        ("--hostname=x", "--uts=host"),
        ("--hostname=x", "--uts=container:other"),
        ("--dns=1.1.1.1", "--network=container:other"),
        ("--add-host=a:1.1.1.1", "--network=container:other"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    rpod: Command, image: str, options: tuple[str, str]
) -> None:
    rpod("create", "--name", "other", image)
    done = rpod("create", *options, image, check=False)
    assert done.code == 125
    assert all(option.partition("=")[0] in done.err for option in options), done.err
