"""Images straight from archives and directories, written by skopeo and by save."""

import shutil

import pytest

from tests.support.command import Command

SAVED = {
    "docker-archive": "docker-archive",
    "oci-archive": "oci-archive",
    "oci": "oci-dir",
    "dir": "docker-dir",
}


def image_id(rpod: Command, name: str) -> str:
    return rpod("image", "inspect", "--format", "{{.Id}}", name).out.strip()


@pytest.mark.parametrize("transport", SAVED)
@pytest.mark.rpod_only  # what podman saves in another format has another id
def test_pull_and_run_from_a_file(
    rpod: Command, fresh_rpod: Command, image: str, account_dir: str, transport: str
) -> None:
    path = f"{account_dir}/saved"
    rpod("save", "-q", "--format", SAVED[transport], "-o", path, image)
    done = fresh_rpod("pull", "-q", f"{transport}:{path}")
    assert done.lines == [image_id(rpod, image)]
    fresh_rpod("rmi", done.lines[0])
    ran = fresh_rpod("run", "--rm", "--network=none", f"{transport}:{path}", "echo", "ran")
    assert ran.out == "ran\n"
    made = fresh_rpod("create", "-q", f"{transport}:{path}", "true").out.strip()
    found = fresh_rpod("inspect", "--format", "{{.Image}}", made).out.strip()
    assert found == image_id(rpod, image)
    fresh_rpod("rm", made)


@pytest.mark.parametrize("transport", SAVED)
@pytest.mark.rpod_only
def test_pull_of_what_skopeo_wrote(
    rpod: Command, fresh_rpod: Command, image: str, account_dir: str, transport: str
) -> None:
    rpod("save", "-q", "-o", f"{account_dir}/saved", image)
    target = f"{transport}:{account_dir}/copied"
    named = target if transport == "dir" else f"{target}:quay.io/copied/image:3"
    rpod.shell(f"skopeo copy -q --insecure-policy docker-archive:{account_dir}/saved {named}")
    fresh_rpod("pull", "-q", named)
    names = fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines
    assert names == (["<none>:<none>"] if transport == "dir" else ["quay.io/copied/image:3"])
    ran = fresh_rpod("run", "--rm", "--network=none", named, "cat", "/home/alice/notes")
    assert ran.out == "of alice\n"


def test_pull_of_a_name_that_the_archive_does_not_have(
    rpod: Command, image: str, account_dir: str
) -> None:
    rpod("save", "-q", "-o", f"{account_dir}/saved", image)
    done = rpod("pull", f"docker-archive:{account_dir}/saved:quay.io/x:1", check=False)
    assert done.code == 125, done.told
    assert "quay.io/x:1" in done.err


def test_pull_of_a_file_that_is_not_there(rpod: Command) -> None:
    done = rpod("pull", "oci-archive:/nowhere/at-all", check=False)
    assert done.code == 125, done.told
    assert "/nowhere" in done.err


@pytest.mark.rpod_only  # podman takes the first
def test_run_of_one_of_several_has_to_say_which(
    rpod: Command, image: str, account_dir: str
) -> None:
    files = rpod("run", "--rm", image, "tar", "-c", "/etc/passwd").out_bytes
    rpod("import", "-q", "-", "localhost/third:1", input=files)
    path = f"{account_dir}/saved"
    rpod("save", "-q", "-o", path, image, "localhost/third:1")
    done = rpod("run", "--rm", f"docker-archive:{path}", "true", check=False)
    assert done.code == 125, done.told
    assert image in done.err
    ran = rpod("run", "--rm", f"docker-archive:{path}:{image}", "echo", "ran")
    assert ran.out == "ran\n"
    assert len(rpod("pull", "-q", f"docker-archive:{path}").lines) == 2
    rpod("rmi", "localhost/third:1")


def test_docker_prefix_means_the_registry_name(rpod: Command, image: str) -> None:
    assert rpod("run", "--rm", f"docker://{image}", "echo", "ran").out == "ran\n"


@pytest.mark.rpod_only
@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_image_out_of_podmans_store(
    fresh_rpod: Command, docker_archive: str, account_dir: str, driver: str
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    script = f"""mkdir -p $XDG_CONFIG_HOME/containers
        printf '[storage]\\ndriver = "{driver}"\\n' >$XDG_CONFIG_HOME/containers/storage.conf
        skopeo --insecure-policy copy -q docker-archive:{docker_archive} \\
            containers-storage:localhost/theirs:1"""
    fresh_rpod.shell(script)
    image_id = fresh_rpod("pull", "-q", "containers-storage:localhost/theirs:1").out.strip()
    assert fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines == [
        "localhost/theirs:1"
    ]
    fresh_rpod("load", "-q", "-i", docker_archive)
    # The same configuration and the same layers: the same image.
    assert fresh_rpod("images", "-q", "--no-trunc").lines == [f"sha256:{image_id}"]
    out = fresh_rpod("run", "--rm", "--network=none", "containers-storage:theirs:1", "stat", "-c",
                     "%u %a", "/home/alice", "/root")  # fmt: skip
    assert out.lines == ["1000 755", "0 700"]
    place = f"containers-storage:[{driver}@{account_dir}/data/containers/storage]theirs:1"
    assert fresh_rpod("pull", "-q", place).out.strip() == image_id
    done = fresh_rpod("pull", "containers-storage:theirs:2", check=False)
    assert done.code == 125
    assert "localhost/theirs:1" in done.err


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    "name", ["docker-daemon:x", "tarball:/x", "ostree:x", "containers-storage:"]
)
def test_transport_that_is_not_read_says_what_to_do(rpod: Command, name: str) -> None:
    done = rpod("pull", name, check=False)
    assert done.code == 125
    assert "docker.io" not in done.err
