"""Devices by name and profiles: what of the host is put into a container."""

import json
import os

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only


@pytest.fixture
def described(rpod: Command, account_dir: str) -> dict[str, str]:
    """The environment of an account with a device description and profiles of its own."""
    libm = next(
        path
        for path in ("/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6",
                     "/lib64/libm.so.6")
        if os.path.exists(path)
    )  # fmt: skip
    hooks = [
        {"hookName": "createContainer", "path": "/x/nvidia-cdi-hook",
         "args": ["nvidia-cdi-hook", "create-symlinks", "--link", "real.so::/usr/lib/v/lib.so.1"]},
        {"hookName": "createContainer", "path": "/bin/touch", "args": ["touch", "/tmp/never"]},
        {"hookName": "createContainer", "path": "/sbin/ldconfig", "args": ["ldconfig", "/usr/v"]},
    ]  # fmt: skip
    edits = {
        "env": ["GPU=yes"],
        "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero"}],
        "mounts": [{"hostPath": "/etc/os-release", "containerPath": "/opt/v/release"}],
        "hooks": hooks,
    }
    gone = {"deviceNodes": [{"path": "/dev/no-such-node"}]}
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/gpu",
        "devices": [
            {"name": "0", "containerEdits": edits},
            {"name": "gone", "containerEdits": gone},
        ],
    }
    files = {
        "cdi/v.json": json.dumps(document),
        "config/rpod/inject.d/site.toml": (
            'env = { FABRIC = "on" }\nbinds = ["/etc/os-rel*:/opt/host", "/etc/absent*"]\n'
            'devices = ["/dev/zer*", "/dev/absent*"]\nlibrary-path = ["/opt/host"]\n'
            'links = { "/opt/host/link" = "os-release" }\nconflicts = ["other"]\n'
        ),
        "config/rpod/inject.d/other.toml": 'env = { OTHER = "1" }\n',
        "config/rpod/inject.d/glibc.toml": f'binds = ["{libm}:/opt/host/libm.so.6"]\n',
        "config/rpod/inject.d/broken.toml": "binds = 3\n",
    }
    for name, text in files.items():
        path = f"{account_dir}/{name}"
        rpod.shell(f"mkdir -p {os.path.dirname(path)}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return {
        "RPOD_CDI_DIRECTORIES": f"{account_dir}/cdi",
        "XDG_CONFIG_HOME": f"{account_dir}/config",
    }


def test_a_device_by_name(rpod: Command, image: str, described: dict[str, str]) -> None:
    script = (
        "echo $GPU $LD_LIBRARY_PATH; head -c 1 /dev/gpu0 | wc -c; head -1 /opt/v/release;"
        " readlink /usr/lib/v/lib.so.1; ls /tmp"
    )
    done = rpod(
        "run", "--rm", "--device", "vendor.com/gpu=0", image, "sh", "-c", script, env=described
    )
    with open("/etc/os-release", encoding="utf-8") as release:
        first = release.readline().strip()
    assert done.lines == ["yes /usr/v", "1", first, "real.so"]
    assert "the hook `touch /tmp/never` is left out" in done.err
    assert rpod("run", "--rm", "--gpus", "1", image, "sh", "-c", "echo $GPU", env=described).lines


def test_a_link_does_not_leave_the_container(
    rpod: Command, image: str, described: dict[str, str], account_dir: str
) -> None:
    """An image, or a mount, may lay the place of a link onto a directory of the user."""
    rpod.shell(f"mkdir {account_dir}/mine && touch {account_dir}/mine/lib.so.1")
    volume = ("-v", f"{account_dir}/mine:/usr/lib/v")
    done = rpod(
        "run", "--rm", *volume, "--device", "vendor.com/gpu=0", image, "true", env=described,
        check=False,
    )  # fmt: skip
    assert done.code == 125
    assert "link /usr/lib/v/lib.so.1" in done.err
    assert not os.path.islink(f"{account_dir}/mine/lib.so.1")


def test_a_profile(rpod: Command, image: str, described: dict[str, str]) -> None:
    script = "echo $FABRIC $LD_LIBRARY_PATH; ls /opt/host; test -c /dev/zero && echo there"
    done = rpod("run", "--rm", "--inject", "site", image, "sh", "-c", script, env=described)
    assert done.lines == ["on /opt/host", "link", "os-release", "there"]
    assert "/etc/absent* is left out" in done.err
    assert "/dev/absent* is left out" in done.err
    told = {**described, "RPOD_INJECT": "other"}
    assert rpod("run", "--rm", image, "sh", "-c", "echo $OTHER", env=told).lines == ["1"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--device", "vendor.com/gpu=9"), "there are 0, gone"),
        (("--device", "vendor.com/gpu=gone"), "/dev/no-such-node is not on this host"),
        (("--gpus", "7"), "--gpus 7: there are 2"),
        (("--inject", "site,other"), "inject site: it cannot be together with other"),
        (("--inject", "absent"), "inject absent: no absent.toml in "),
        (("--inject", "../site"), "not the name of a profile"),
        (("--inject", "broken"), "broken.toml: binds: must be a list of strings"),
        (("--inject", "glibc"), "the image has no glibc"),
    ],
)
def test_what_cannot_be_injected_is_said_before_anything_is_made(
    rpod: Command, image: str, described: dict[str, str], argv: tuple[str, ...], said: str
) -> None:
    done = rpod("run", *argv, image, "true", env=described, check=False)
    assert done.code == 125
    assert said in done.err
    assert rpod("ps", "-aq").lines == []


def edits(**given: object) -> str:
    device = {"name": "0", "containerEdits": given}
    return json.dumps({"cdiVersion": "0.6.0", "kind": "odd.com/it", "devices": [device]})


LINKS = {"path": "/x", "args": ["nvidia-ctk", "hook", "create-symlinks", "--link", "::"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (edits(env=["=x"]), "env: '=x' is not NAME=VALUE"),
        (edits(env=["A"]), "env: 'A' is not NAME=VALUE"),
        (edits(mounts=[{"hostPath": "etc", "containerPath": "/o"}]), "'etc' is not an absolute"),
        (edits(mounts=[{"hostPath": "/etc", "containerPath": "/"}]), "'/' is not an absolute"),
        (edits(mounts=[{"hostPath": "/o", "containerPath": "/o", "type": "overlay"}]), "'overlay'"),
        (edits(deviceNodes=[{"path": "dev/x"}]), "'dev/x' is not an absolute path"),
        (edits(hooks=[LINKS]), "--link ::: TARGET::PATH is expected"),
        ('{"kind": "odd.com/i', "odd.json: not JSON"),
        ("[" * 100_000, "odd.json: not JSON (nested too deeply)"),
        ('{"kind": "a.com/../b"}', "is not vendor/class"),
    ],
    ids=["name", "value", "source", "root", "type", "node", "link", "torn", "deep", "kind"],
)
def test_an_odd_description_is_refused_and_spoils_no_other(
    rpod: Command, image: str, described: dict[str, str], account_dir: str, text: str, said: str
) -> None:
    with open(f"{account_dir}/cdi/odd.json", "w", encoding="utf-8") as file:
        file.write(text)
    done = rpod("run", "--device", "odd.com/it=0", image, "true", env=described, check=False)
    assert (done.code, said in done.err) == (125, True), done.told
    assert rpod("ps", "-aq").lines == []
    script = ("run", "--rm", "--device", "vendor.com/gpu=0", image, "sh", "-c", "echo $GPU")
    assert rpod(*script, env=described).out == "yes\n"


def test_a_library_that_the_images_glibc_can_load(rpod: Command, described: dict[str, str]) -> None:
    """The host's own C library is new enough for the host's own libraries."""
    done = rpod(
        "shell", "--rootfs", "/", "--inject", "glibc", "ls", "/opt/host/libm.so.6", env=described
    )
    assert done.lines == ["/opt/host/libm.so.6"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('binds = ["/etc:/"]', "nothing can be put over /"),
        ('binds = ["/usr/share/zoneinfo/*/*:/y"]', "more than 500 in a profile"),
        ('binds = ["etc:/x"]', "use /PATTERN"),
        ('devices = ["/etc/passwd"]', "devices: /etc/passwd is no device"),
        ('links = { a = "b" }', "links: 'a' is no absolute path"),
        ('links = { "/a\\u0000" = "b" }', "links: has a NUL in it"),
        ('env = { "A=B" = "c" }', "env: 'A=B' is no name of a variable"),
        ('library-path = ["/a:/b"]', "library-path: '/a:/b' is no absolute path"),
    ],
)
def test_a_profile_that_cannot_be_is_told_by_its_name(
    rpod: Command, image: str, account_dir: str, text: str, said: str
) -> None:
    directory = f"{account_dir}/rpod/inject.d"
    os.makedirs(directory)
    with open(f"{directory}/bad.toml", "w", encoding="utf-8") as file:
        file.write(text)
    done = rpod("run", "--rm", "--inject", "bad", image, "true", check=False,
                env={"XDG_CONFIG_HOME": account_dir})  # fmt: skip
    assert done.code == 125
    assert said in done.err and ("bad.toml: " in done.err or "profile bad: " in done.err)


def test_a_profile_that_everybody_may_write_is_not_used(
    rpod: Command, image: str, account_dir: str
) -> None:
    directory = f"{account_dir}/rpod/inject.d"
    os.makedirs(directory)
    os.chmod(directory, 0o777)
    with open(f"{directory}/open.toml", "w", encoding="utf-8") as file:
        file.write('env = { A = "1" }')
    done = rpod("run", "--rm", "--inject", "open", image, "true", check=False,
                env={"XDG_CONFIG_HOME": account_dir})  # fmt: skip
    assert done.code == 125
    assert f"open.toml is not used: everybody may write to {directory}" in done.err
