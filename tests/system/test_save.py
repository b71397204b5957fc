"""Saved images, read by others and by the command itself."""

import json
import os
import subprocess
import sys

import pytest

from tests.support import images
from tests.support.command import Command, is_podman

SKOPEO = {
    "docker-archive": "docker-archive:{0}",
    "oci-archive": "oci-archive:{0}",
    "oci-dir": "oci:{0}",
    "docker-dir": "dir:{0}",
}


def inspect(rpod: Command, source: str) -> dict[str, object]:
    done = rpod.shell(f"skopeo inspect --no-tags {source}")
    document = json.loads(done.out)
    assert isinstance(document, dict)
    return document


def image_id(rpod: Command, name: str) -> str:
    return rpod("image", "inspect", "--format", "{{.Id}}", name).out.strip()


@pytest.mark.parametrize("form", SKOPEO)
def test_skopeo_reads_what_was_saved(
    rpod: Command, image: str, account_dir: str, form: str
) -> None:
    rpod("save", "-q", "--format", form, "-o", f"{account_dir}/saved", image)
    found = inspect(rpod, SKOPEO[form].format(f"{account_dir}/saved"))
    assert found["Labels"] == {"made.for": "tests"}
    # Every blob is read, its digest checked, and its layers compared with the configuration.
    copy = f"skopeo copy -q --insecure-policy {SKOPEO[form].format(f'{account_dir}/saved')}"
    rpod.shell(f"{copy} oci:{account_dir}/copied:1")


@pytest.mark.rpod_only  # what podman compresses again on its way out has another digest
@pytest.mark.parametrize("form", ["oci-archive", "oci-dir"])
def test_digests_stay(
    rpod: Command, fresh_rpod: Command, image: str, account_dir: str, form: str
) -> None:
    path = f"{account_dir}/saved"
    rpod("save", "-q", "--format", "oci-archive", "-o", f"{path}.tar", image)
    fresh_rpod("load", "-q", "-i", f"{path}.tar")
    fresh_rpod("save", "-q", "--format", form, "-o", path, image)
    fresh_rpod("rmi", image)
    fresh_rpod("load", "-q", "-i", path)
    fresh_rpod("save", "-q", "--format", "oci-archive", "-o", f"{path}.again.tar", image)
    with open(f"{path}.tar", "rb") as first, open(f"{path}.again.tar", "rb") as second:
        assert first.read() == second.read()


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_pipe_from_save_to_load(rpod: Command, fresh_rpod: Command, image: str, form: str) -> None:
    data = rpod("save", "--format", form, image).out_bytes
    done = fresh_rpod("load", input=data)
    assert f"Loaded image: {image}" in done.out
    if not is_podman():  # which writes the configuration anew for another format
        assert image_id(fresh_rpod, image) == image_id(rpod, image)
    assert fresh_rpod("run", "--rm", "--network=none", image, "echo", "ran").out == "ran\n"


def test_several_images_in_one(rpod: Command, fresh_rpod: Command, image: str) -> None:
    rpod("tag", image, "localhost/twin:1")
    data = rpod("save", "-m", image, "localhost/twin:1").out_bytes
    done = fresh_rpod("load", input=data)
    assert image in done.out
    names = set(fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines)
    assert names == {image, "localhost/twin:1"}
    rpod("rmi", "localhost/twin:1")


def test_image_saved_by_its_id_has_no_name(rpod: Command, fresh_rpod: Command, image: str) -> None:
    identity = image_id(rpod, image)
    fresh_rpod("load", input=rpod("save", identity).out_bytes)
    assert fresh_rpod("images", "-q", "--no-trunc").lines == [f"sha256:{identity}"]
    assert fresh_rpod("images", "--format", "{{.Repository}}").lines == ["<none>"]


def test_save_refuses_a_terminal(rpod: Command, image: str) -> None:
    with rpod.pty("save", image) as terminal:
        terminal.expect("refusing to save to terminal")
        terminal.expect("\\$?")
        terminal.wait()
        assert terminal.exitstatus == 125


def test_save_of_what_is_not_there(rpod: Command, account_dir: str) -> None:
    done = rpod("save", "-o", f"{account_dir}/saved", "localhost/absent:1", check=False)
    assert done.code == 125, done.told
    assert "localhost/absent:1" in done.err
    assert os.listdir(account_dir) == []


@pytest.mark.rpod_only  # podman's words differ
def test_full_target_is_told(rpod: Command, image: str) -> None:
    done = rpod("save", "-o", "/dev/full", image, check=False)
    assert done.code == 125, done.told
    assert "No space left on device" in done.err


def test_reader_that_goes_away(rpod: Command, image: str) -> None:
    with rpod.spawn("save", image) as process:
        assert process.stdout is not None
        process.stdout.read(512)
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        assert process.wait() != 0


@pytest.mark.rpod_only  # podman on itself says nothing new
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_podman_loads_what_was_saved(
    rpod: Command, image: str, account_dir: str, form: str
) -> None:
    if subprocess.run(["which", "podman"], check=False, capture_output=True).returncode:
        pytest.skip("podman is not installed")
    rpod("save", "-q", "--format", form, "-o", f"{account_dir}/saved", image)
    runroot = f"{rpod.account.runtime_dir}/podman"  # podman allows it 50 characters
    podman = f"podman --root {account_dir}/p --runroot {runroot} --storage-driver vfs"
    podman += " --events-backend none --cgroup-manager cgroupfs"
    done = rpod.shell(f"{podman} load -q -i {account_dir}/saved", check=False)
    if "cgroup" in done.err and done.code:
        pytest.skip("podman does not run on this host's cgroups")
    assert image in done.out, done.told
    found = rpod.shell(f"{podman} image inspect --format {{{{.Id}}}} {image}")
    assert found.out.strip() == image_id(rpod, image)
    rpod.shell(f"{podman} unshare rm -rf {account_dir}/p {runroot}")


@pytest.mark.rpod_only
def test_save_and_load_from_python(rpod: Command, image: str, account_dir: str) -> None:
    script = f"""
from rootless import api
with api.connect() as rpod:
    rpod.save("{account_dir}/saved", "{image}", form="oci-archive")
    print(*(name for record in rpod.load("{account_dir}/saved") for name in record.names))
"""
    done = rpod.shell(f"{sys.executable} -c '{script}'")
    assert image in done.out.split()


def test_load_tells_the_names_of_the_archive(
    fresh_rpod: Command, docker_archive: str, account_dir: str
) -> None:
    """Whatever names the image has in the store."""
    fresh_rpod("load", "-qi", docker_archive)
    fresh_rpod("tag", images.NAME, "localhost/a:1", "localhost/z:1")
    for form in ("docker-archive", "oci-archive"):
        path = f"{account_dir}/{form}.tar"
        fresh_rpod("save", "-q", "--format", form, "-o", path, "localhost/z:1")
        assert fresh_rpod("load", "-q", "-i", path).lines == ["Loaded image: localhost/z:1"]
    image_id = fresh_rpod("images", "-q", "--no-trunc", "localhost/z").lines[0]
    fresh_rpod("save", "-q", "--format", "docker-dir", "-o", f"{account_dir}/dir", "localhost/z:1")
    assert fresh_rpod("load", "-q", "-i", f"{account_dir}/dir").lines == [
        f"Loaded image: {image_id}"
    ]


@pytest.mark.rpod_only  # podman compresses the layers of directories in any case
def test_compress_is_for_directories(fresh_rpod: Command, docker_archive: str) -> None:
    fresh_rpod("load", "-qi", docker_archive)
    home = fresh_rpod.environment["HOME"]
    for options, kind in (((), ""), (("--compress",), ".gzip")):
        place = f"{home}/dir{kind}"
        fresh_rpod("save", "-q", *options, "--format=docker-dir", "-o", place, images.NAME)
        with open(f"{place}/manifest.json", encoding="utf-8") as file:
            types = {layer["mediaType"] for layer in json.load(file)["layers"]}
        assert types == {f"application/vnd.docker.image.rootfs.diff.tar{kind}"}
    assert fresh_rpod.shell(f"skopeo inspect dir:{home}/dir.gzip").code == 0
    failed = fresh_rpod("save", "--compress", "-o", f"{home}/x.tar", images.NAME, check=False)
    assert failed.code == 125


@pytest.mark.rpod_only
def test_push_compresses_into_a_directory(fresh_rpod: Command, docker_archive: str) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    home = fresh_rpod.environment["HOME"]
    fresh_rpod("push", "-q", "--compress", "--remove-signatures", images.NAME, f"dir:{home}/p")
    manifest = json.loads(fresh_rpod.shell(f"cat {home}/p/manifest.json").out)
    assert all(layer["mediaType"].endswith("gzip") for layer in manifest["layers"])
    fresh_rpod("rmi", "-af")
    fresh_rpod("run", "--rm", "--network=none", f"dir:{home}/p", "true")
    failed = fresh_rpod("push", "--compress", images.NAME, f"oci:{home}/o", check=False)
    assert failed.code == 125
    assert "dir:" in failed.err
