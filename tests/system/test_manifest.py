"""manifest: indexes of the user's own, in the store and in a registry."""

import json

import pytest

from tests.support import images, oci
from tests.support.command import Command
from tests.support.images import File
from tests.support.registry import Registry


@pytest.fixture
def two(fresh_rpod: Command) -> Command:
    """A store with two images, localhost/a:1 and localhost/b:1."""
    for name in ("a", "b"):
        layers = [images.tar(images.busybox_files()), images.tar([File(name, name.encode())])]
        archive = images.docker_archive(layers, {"Cmd": ["sh"]}, f"localhost/{name}:1")
        fresh_rpod("load", "-q", input=archive)
    return fresh_rpod


def entries(command: Command, name: str) -> list[dict[str, object]]:
    found = json.loads(command("manifest", "inspect", name).out)["manifests"] or []
    assert isinstance(found, list)
    return found


@pytest.mark.rpod_only  # podman 4.3 looks for members in registries
def test_list_is_made_and_edited(two: Command) -> None:
    assert len(two("manifest", "create", "localhost/l:1").out.strip()) == 64
    assert entries(two, "localhost/l:1") == []
    two("manifest", "add", "localhost/l:1", "localhost/a:1")
    two("manifest", "add", "--arch", "arm64", "--variant", "v8", "localhost/l:1", "localhost/b:1")
    first, second = entries(two, "localhost/l:1")
    assert second["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    digest = str(second["digest"])
    two("manifest", "annotate", "--annotation", "k=v", "--os-version", "9", "localhost/l:1", digest)
    assert entries(two, "localhost/l:1")[1]["annotations"] == {"k": "v"}
    two("manifest", "remove", "localhost/l:1", digest)
    assert entries(two, "localhost/l:1") == [first]


@pytest.mark.rpod_only  # podman 4.3 looks for members in registries
def test_list_exists_until_it_is_removed(two: Command) -> None:
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    assert two("manifest", "exists", "localhost/l:1").code == 0
    assert two("image", "exists", "localhost/l:1").code == 0
    assert two("manifest", "exists", "localhost/a:1", check=False).code == 1
    assert two("manifest", "rm", "localhost/none:1", check=False).code == 1
    assert two("manifest", "rm", "localhost/a:1", check=False).code == 125
    again = two("manifest", "create", "localhost/l:1", check=False)
    assert again.code == 125
    assert "already in use" in again.err
    two("manifest", "rm", "localhost/l:1")
    assert two("manifest", "exists", "localhost/l:1", check=False).code == 1
    assert two("image", "exists", "localhost/a:1").code == 0


@pytest.mark.rpod_only  # podman 4.3 looks for members in registries
def test_list_runs_as_the_image_for_this_platform(two: Command) -> None:
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    two("manifest", "add", "--arch", "s390x", "localhost/l:1", "localhost/b:1")
    assert two("run", "--rm", "localhost/l:1", "cat", "/a").out == "a"
    assert "localhost/l" in two("images").out


@pytest.mark.rpod_only  # podman takes the layers along
def test_list_keeps_its_images_alive(two: Command) -> None:
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    two("rmi", "localhost/a:1", "localhost/b:1")
    two("image", "prune", "-f")
    assert two("run", "--rm", "localhost/l:1", "cat", "/a").out == "a"


@pytest.mark.rpod_only
def test_list_is_pushed_with_its_images(two: Command, registry: Registry) -> None:
    target = f"{registry.host}/lists/app:1"
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    two("manifest", "add", "--arch", "arm64", "localhost/l:1", "localhost/b:1")
    pushed = two("manifest", "push", "-q", "localhost/l:1", f"docker://{target}").out.strip()
    raw = registry.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}")
    assert json.loads(raw)["manifests"] == entries(two, "localhost/l:1")
    assert oci.sha256(raw.encode()) == pushed
    two("manifest", "push", "-q", "--format", "v2s2", "localhost/l:1", f"docker://{target}-d")
    raw = registry.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}-d")
    assert json.loads(raw)["mediaType"].endswith("manifest.list.v2+json")
    # Another store gets each image by its platform, or makes a list out of the whole.
    two("manifest", "rm", "localhost/l:1")
    two("rmi", "-a")
    two("manifest", "create", "--all", "localhost/all:1", f"docker://{target}")
    assert len(entries(two, "localhost/all:1")) == 2
    two("pull", "-q", "--arch", "arm64", target)
    assert two("run", "--rm", target, "cat", "/b").out == "b"


@pytest.mark.rpod_only
def test_list_is_pushed_with_its_images_in_another_form(two: Command, registry: Registry) -> None:
    """Entries keep what they say of an image; the store keeps nothing of what was converted."""
    target = f"docker://{registry.host}/lists/forms"
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    two("manifest", "add", "--arch", "arm64", "--annotation", "k=v", "localhost/l:1",
        "localhost/b:1")  # fmt: skip
    count = "find $XDG_DATA_HOME/rpod/blobs -type f | wc -l"
    two("image", "prune", "-f")  # what the edits have left
    before = two.shell(count).out
    layers = set()
    for form, compression, level in (
        ("oci", "zstd", "12"), ("oci", "gzip", "1"), ("v2s2", "gzip", "9"),
    ):  # fmt: skip
        place = f"{target}:{form}-{compression}"
        options = ("--format", form, "--compression-format", compression)
        pushed = two(
            "manifest", "push", "-q", *options, "--compression-level", level, "localhost/l:1", place
        ).out.strip()
        raw = registry.skopeo("inspect", "--raw", "--tls-verify=false", place)
        assert oci.sha256(raw.encode()) == pushed
        first, second = json.loads(raw)["manifests"]
        assert second["platform"]["architecture"] == "arm64"
        assert second["annotations"] == {"k": "v"}
        for entry in (first, second):
            one = f"{target}@{entry['digest']}"
            manifest = json.loads(registry.skopeo("inspect", "--raw", "--tls-verify=false", one))
            assert manifest["mediaType"] == entry["mediaType"]
            layers |= {layer["mediaType"].rpartition("/")[2] for layer in manifest["layers"]}
    assert layers == {
        "vnd.oci.image.layer.v1.tar+zstd",
        "vnd.oci.image.layer.v1.tar+gzip",
        "vnd.docker.image.rootfs.diff.tar.gzip",
    }
    assert two.shell(count).out == before
    two("pull", "-q", "--arch", "arm64", f"{registry.host}/lists/forms:oci-zstd")
    name = f"{registry.host}/lists/forms:oci-zstd"
    assert two("run", "--rm", "--network=none", name, "cat", "/b").out == "b"
    for words in ("--format v2s2 --compression-format zstd", "--compression-level 77"):
        failed = two(
            "manifest", "push", *words.split(), "localhost/l:1", f"{target}:x", check=False
        )
        assert failed.code == 125


@pytest.mark.rpod_only
def test_list_is_pushed_to_a_layout(two: Command, account_dir: str) -> None:
    two("manifest", "create", "localhost/l:1")
    two("manifest", "add", "localhost/l:1", "containers-storage:localhost/a:1")
    two("manifest", "add", "--arch", "arm64", "localhost/l:1", "localhost/b:1")
    two("manifest", "push", "-q", "localhost/l:1", f"oci-archive:{account_dir}/l.tar:l")
    two("push", "-q", "localhost/l:1", f"oci:{account_dir}/l:l")
    for place in (f"oci-archive:{account_dir}/l.tar:l", f"oci:{account_dir}/l:l"):
        raw = two.shell(f"skopeo inspect --raw {place}").out
        assert json.loads(raw)["manifests"] == entries(two, "localhost/l:1")
        two.shell(f"skopeo --override-arch arm64 inspect {place}")
    failed = two(
        "manifest", "push", "localhost/l:1", f"docker-archive:{account_dir}/d", check=False
    )
    assert failed.code == 125
    assert "oci-archive" in failed.err
    failed = two("manifest", "add", "localhost/l:1", "containers-storage:nothing", check=False)
    assert failed.code == 125
    assert "no image" in failed.err


@pytest.mark.rpod_only
def test_list_goes_through_a_plain_directory(two: Command, account_dir: str) -> None:
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    two("manifest", "add", "--arch", "arm64", "localhost/l:1", "localhost/b:1")
    known = entries(two, "localhost/l:1")
    two("manifest", "push", "-q", "localhost/l:1", f"dir:{account_dir}/d")
    two("manifest", "push", "-q", "localhost/l:1", f"oci:{account_dir}/o:l")
    two.shell(f"skopeo --insecure-policy copy -q --all dir:{account_dir}/d dir:{account_dir}/e")
    raw = two.shell(f"skopeo inspect --raw dir:{account_dir}/e").out
    assert json.loads(raw)["manifests"] == known
    two("manifest", "rm", "localhost/l:1")
    two("rmi", "-a")
    for place in (f"dir:{account_dir}/e", f"oci:{account_dir}/o", f"oci:{account_dir}/o:l"):
        two("manifest", "create", "--all", "localhost/again:1", place)
        assert entries(two, "localhost/again:1") == known
        assert two("run", "--rm", "localhost/again:1", "cat", "/a").out == "a"
        two("manifest", "rm", "localhost/again:1")
        two("manifest", "create", "localhost/one:1", place)
        assert entries(two, "localhost/one:1") == known[:1]
        two("manifest", "rm", "localhost/one:1")


@pytest.mark.rpod_only
def test_list_takes_images_out_of_files(two: Command, account_dir: str) -> None:
    forms = {
        "oci": "oci-dir", "oci-archive": "oci-archive", "docker-archive": "docker-archive",
        "dir": "docker-dir",
    }  # fmt: skip
    for transport, form in forms.items():
        two("save", "-q", "--format", form, "-o", f"{account_dir}/{transport}", "localhost/a:1")
    two("rmi", "-a")
    two("manifest", "create", "localhost/l:1")
    for transport in forms:
        two("manifest", "add", "localhost/l:1", f"{transport}:{account_dir}/{transport}")
        assert two("run", "--rm", "localhost/l:1", "cat", "/a").out == "a"
    two("manifest", "add", "localhost/l:1", f"oci:{account_dir}/oci:localhost/a:1")
    two("manifest", "add", "--all", "--arch", "arm64", "localhost/l:1", f"dir:{account_dir}/dir")
    found = entries(two, "localhost/l:1")
    assert len(found) == 2  # one manifest is the OCI's, one docker's
    assert {str(one["platform"]) for one in found} != {str(found[0]["platform"])}
    for place in (f"oci:{account_dir}/oci:nothing", f"oci:{account_dir}/none", "dir:/"):
        failed = two("manifest", "add", "localhost/l:1", place, check=False)
        assert failed.code == 125
        assert place.partition(":")[2].partition(":")[0] in failed.err
    assert entries(two, "localhost/l:1") == found


@pytest.mark.rpod_only
def test_file_gives_the_image_of_the_platform_that_is_asked_for(
    two: Command, account_dir: str
) -> None:
    two("manifest", "create", "localhost/l:1", "localhost/a:1")
    two("manifest", "add", "--arch", "arm64", "localhost/l:1", "localhost/b:1")
    layout = f"oci:{account_dir}/l:l"
    two("push", "-q", "localhost/l:1", layout)
    arm = two("image", "inspect", "--format", "{{.Id}}", "localhost/b:1").out.strip()
    assert two("pull", "-q", "--arch", "arm64", layout).out.strip() == arm
    assert two("pull", "-q", layout).out.strip() != arm
    assert two("pull", "--arch", "s390x", layout, check=False).code == 125


@pytest.mark.rpod_only
def test_list_of_what_is_not_there_is_not_made(two: Command, registry: Registry) -> None:
    done = two("manifest", "create", "localhost/l:1", f"{registry.host}/no/such:1", check=False)
    assert done.code == 125
    assert two("manifest", "exists", "localhost/l:1", check=False).code == 1
