"""Images that are odd or hostile: what is shown of them, and that only their own runs suffer."""

import tarfile
from collections.abc import Callable

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.images import File, directory, symlink

LoadImage = Callable[..., str]


@pytest.fixture
def load(rpod: Command) -> "LoadImage":
    """Load busybox with some entries more, or others in their place, under a name of its own."""
    names: list[str] = []

    def make(*files: File, config: dict[str, object] | None = None) -> str:
        name = f"localhost/odd-{len(names)}:latest"
        replaced = {file.name for file in files}
        base = [file for file in images.busybox_files() if file.name not in replaced]
        settings = {"Env": ["PATH=/bin"], "Cmd": ["sh"], **(config or {})}
        rpod("load", input=images.docker_archive([images.tar([*base, *files])], settings, name))
        names.append(name)
        return name

    return make


def test_accounts_that_only_root_may_read_are_found(rpod: Command, load: LoadImage) -> None:
    passwd = File("etc/passwd", images.PASSWD.encode(), 0o600, uid=5, gid=5)
    name = load(directory("etc", 0o700, uid=5, gid=5), passwd)
    done = rpod("run", "--rm", "--user", "alice", name, "sh", "-c", "id -u; id -g")
    assert done.lines == ["1000", "1000"]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(symlink("etc/passwd", "x" * 300), id="link-to-a-long-name"),
        pytest.param(symlink("etc/passwd", "passwd"), id="link-to-itself"),
        pytest.param(File("etc/passwd", kind=tarfile.FIFOTYPE), id="fifo"),
        pytest.param(directory("etc/passwd"), id="directory"),
        pytest.param(File("etc/passwd", b"a:x:" + b"9" * 5000 + b":0::/:\n"), id="huge-id"),
        pytest.param(File("etc/passwd", b"\xff\x00" * 4000), id="bytes"),
    ],
)
@pytest.mark.rpod_only  # podman 4.3 hangs at a fifo
def test_odd_accounts_do_not_stop_root(rpod: Command, load: LoadImage, entry: File) -> None:
    assert rpod("run", "--rm", load(entry), "echo", "works").out == "works\n"


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("../../../../../../tmp/planted", id="out-by-dots"),
        pytest.param("/tmp/planted", id="absolute"),
        pytest.param("/nowhere/deep/planted", id="to-make"),
    ],
)
def test_a_generated_file_over_a_link_lands_inside(
    rpod: Command, load: LoadImage, link: str
) -> None:
    name = load(symlink("etc/resolv.conf", link))
    script = "test -s /etc/resolv.conf && readlink -f /etc/resolv.conf"
    done = rpod("run", "--rm", name, "sh", "-c", script)
    assert done.lines[-1].startswith(("/tmp/planted", "/nowhere/deep/planted"))


@pytest.mark.rpod_only  # podman 4.3.1 waits for the FIFO, or follows the link
@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(File("etc/hosts", kind=tarfile.FIFOTYPE), id="fifo"),
        pytest.param(File("etc/hosts", b"old\n", 0o000, uid=7), id="closed"),
    ],
)
def test_a_generated_file_over_an_odd_one_is_there(
    rpod: Command, load: LoadImage, entry: File
) -> None:
    done = rpod("run", "--rm", load(entry), "grep", "-c", "localhost", "/etc/hosts")
    assert int(done.out) >= 1


@pytest.mark.rpod_only  # about our words
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        pytest.param(directory("etc/hosts"), "mount a file over a directory", id="directory"),
        pytest.param(symlink("etc/hosts", "hosts"), "/etc/hosts", id="loop"),
        pytest.param(symlink("proc", "/etc"), "/proc", id="proc-is-a-link"),
        pytest.param(symlink("dev", "/etc"), "/dev", id="dev-is-a-link"),
    ],
)
def test_what_cannot_be_mounted_over_is_named(
    rpod: Command, load: LoadImage, entry: File, words: str
) -> None:
    done = rpod("run", "--rm", load(entry), "true", check=False)
    assert done.code == 125, done.told
    assert words in done.err
    assert len(done.err.splitlines()) <= 2, done.told


@pytest.mark.parametrize("path", ["/../../../../../../etc", "/out", "/out/../../../etc"])
def test_a_volume_of_the_image_gets_nothing_of_the_host(rpod: Command, path: str) -> None:
    """CVE-2022-23648: what the image has there is copied into the volume, followed on the host."""
    link = symlink("out", "../../../../../../../../etc")
    layer = images.tar([*images.busybox_files(), link])
    config = {"Cmd": ["sh"], "Volumes": {path: {}}}
    name = "localhost/volumes-out:1"
    rpod("load", "-q", input=images.docker_archive([layer], config, name))
    done = rpod("run", "--rm", "--network=none", name, "ls", "-A", "/etc", check=False)
    assert not {"debian_version", "os-release", "shadow", "subuid"} & set(done.lines), done.told
    rpod("rmi", "-f", name)


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"User": "9" * 5000}, id="long-user"),
        pytest.param({"StopSignal": "9" * 5000}, id="long-signal"),
        pytest.param({"WorkingDir": "relative"}, id="relative-working-directory"),
        pytest.param({"Volumes": {"/": {}}}, id="volume-on-the-root"),
        pytest.param({"Entrypoint": [""]}, id="empty-entry-point"),
        pytest.param({"Cmd": [""]}, id="empty-command"),
    ],
)
def test_an_odd_configuration_is_one_clear_line(
    rpod: Command, load: LoadImage, config: dict[str, object]
) -> None:
    name = load(config=config)
    done = rpod("run", "--rm", name, check=False)
    assert done.code in (0, 125, 126, 127), done.told
    for wrong in ("ValueError", "TypeError", "Error: rpod", "unexpected", "bug"):
        assert wrong not in done.err, done.told
    assert len(done.err.splitlines()) <= 2, done.told
    assert rpod("ps", "-aq").out == ""


@pytest.mark.rpod_only
def test_a_working_directory_over_a_link_is_made_inside(rpod: Command, load: LoadImage) -> None:
    name = load(symlink("spot", "../../../srv/made"), config={"WorkingDir": "/spot/here"})
    assert rpod("run", "--rm", name, "pwd", "-P").out == "/srv/made/here\n"


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [("SIZE", "1m", "max_layer_size"), ("FILES", "3", "max_layer_files")],
)
@pytest.mark.rpod_only  # podman has no such limits
def test_limits_of_layers_are_kept(
    fresh_rpod: Command, docker_archive: str, variable: str, value: str, key: str
) -> None:
    fresh_rpod.environment[f"RPOD_MAX_LAYER_{variable}"] = value
    done = fresh_rpod("load", "-i", docker_archive, check=False)
    assert done.code == 125, done.told
    assert key in done.err
    assert fresh_rpod("images", "-q").out == ""
