"""Pushes to a registry, read by others and by the command itself."""

import hashlib
import json
import urllib.request

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.registry import Registry

PLAIN = "--tls-verify=false"


def test_pushed_image_is_pulled_and_runs(
    rpod: Command, fresh_rpod: Command, image: str, registry: Registry, account_dir: str
) -> None:
    target = f"{registry.host}/pushed/app:1"
    done = rpod("push", "-q", PLAIN, "--digestfile", f"{account_dir}/digest", image, target)
    assert (done.out, done.err) == ("", "")
    found = json.loads(rpod.shell(f"skopeo inspect --tls-verify=false docker://{target}").out)
    with open(f"{account_dir}/digest", encoding="ascii") as file:
        assert file.read() == found["Digest"]
    assert found["Labels"] == {"made.for": "tests"}
    fresh_rpod("pull", "-q", PLAIN, target)
    assert fresh_rpod("run", "--rm", "--network=none", target, "echo", "ran").out == "ran\n"


def test_image_goes_where_its_name_says(rpod: Command, image: str, registry: Registry) -> None:
    target = f"{registry.host}/named:2"
    rpod("tag", image, target)
    rpod("push", PLAIN, target)
    rpod("rmi", target)
    rpod.shell(f"skopeo inspect --tls-verify=false docker://{target}")


@pytest.mark.rpod_only  # podman compresses layers anew: the digest is another one
def test_digest_of_a_pulled_image_stays(
    fresh_rpod: Command, registry: Registry, docker_archive: str
) -> None:
    source = registry.push(f"docker-archive:{docker_archive}", "stay:1")
    fresh_rpod("pull", "-q", source)
    target = f"{registry.host}/other/place:2"
    fresh_rpod("push", "-q", source, f"docker://{target}")
    first, second = (
        json.loads(fresh_rpod.shell(f"skopeo inspect --tls-verify=false docker://{name}").out)
        for name in (source, target)
    )
    assert first["Digest"] == second["Digest"]


def test_progress_is_on_standard_error(rpod: Command, image: str, registry: Registry) -> None:
    done = rpod("push", PLAIN, image, f"{registry.host}/progress:1")
    assert done.out == ""
    assert "Copying blob" in done.err


def test_unknown_image_is_an_error(rpod: Command, registry: Registry) -> None:
    done = rpod("push", PLAIN, "localhost/none:1", f"{registry.host}/none:1", check=False)
    assert done.code == 125
    assert "localhost/none:1" in done.err


@pytest.mark.rpod_only  # podman 4.3.1 has no --retry
def test_registry_that_is_not_there_is_an_error(rpod: Command, image: str) -> None:
    done = rpod("push", "-q", PLAIN, "--retry=0", image, "127.0.0.1:1/none:1", check=False,
                env={"no_proxy": "*"})  # fmt: skip
    assert done.code == 125
    assert "refused" in done.err


@pytest.mark.rpod_only  # podman asks the registry localhost for the id
@pytest.mark.parametrize("destination", [[], ["docker-daemon:x"]], ids=["id", "transport"])
def test_place_that_cannot_be_pushed_to_is_an_error(
    rpod: Command, image: str, destination: list[str]
) -> None:
    identity = rpod("image", "inspect", "--format", "{{.Id}}", image).out.strip()
    done = rpod("push", identity, *destination, check=False)
    assert done.code == 125
    assert "rpod " in done.err


def _manifest_of(rpod: Command, source: str) -> dict[str, object]:
    raw = rpod.shell(f"skopeo inspect --raw --tls-verify=false {source}").out
    found = json.loads(raw)
    assert isinstance(found, dict)
    return found


def _layers(manifest: dict[str, object]) -> list[dict[str, object]]:
    layers = manifest["layers"]
    assert isinstance(layers, list)
    return layers


def _layer_types(manifest: dict[str, object]) -> set[str]:
    return {str(layer["mediaType"]).rpartition("/")[2] for layer in _layers(manifest)}


@pytest.mark.parametrize(
    ("options", "manifest", "layer"),
    [
        (
            ["--format", "oci", "--compression-format", "gzip"],
            "oci.image.manifest.v1+json",
            "vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            ["--format", "v2s2", "--compression-format", "gzip"],
            "docker.distribution.manifest.v2+json",
            "vnd.docker.image.rootfs.diff.tar.gzip",
        ),
        (
            ["--format", "oci", "--compression-format", "zstd"],
            "oci.image.manifest.v1+json",
            "vnd.oci.image.layer.v1.tar+zstd",
        ),
        (
            ["--format", "oci", "--compression-format", "zstd:chunked"],
            "oci.image.manifest.v1+json",
            "vnd.oci.image.layer.v1.tar+zstd",
        ),
    ],
    ids=["oci", "v2s2", "zstd", "chunked"],
)
@pytest.mark.rpod_only  # podman 4.3 keeps the compression
def test_push_in_another_form(
    rpod: Command,
    fresh_rpod: Command,
    image: str,
    registry: Registry,
    options: list[str],
    manifest: str,
    layer: str,
) -> None:
    target = f"{registry.host}/forms/{options[1]}-{options[-1].replace(':', '-')}:1"
    rpod("push", "-q", PLAIN, *options, image, target)
    found = _manifest_of(rpod, f"docker://{target}")
    assert str(found["mediaType"]).endswith(manifest)
    assert _layer_types(found) == {layer}
    fresh_rpod("pull", "-q", PLAIN, target)
    assert fresh_rpod("run", "--rm", "--network=none", target, "echo", "ran").out == "ran\n"


@pytest.mark.rpod_only  # podman 4.3 forgets the annotations
def test_table_of_contents_is_found_in_the_registry(
    fresh_rpod: Command, registry: Registry, docker_archive: str
) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    chunked, plain = f"{registry.host}/toc:1", f"{registry.host}/toc:gzip"
    how = ("--compression-format", "zstd:chunked")
    fresh_rpod("push", "-q", PLAIN, *how, images.NAME, chunked)
    (layer,) = _layers(_manifest_of(fresh_rpod, f"docker://{chunked}"))
    annotations = layer["annotations"]
    assert isinstance(annotations, dict)
    marks = {name.rpartition(".")[2]: str(value) for name, value in annotations.items()}
    at, size, *_ = map(int, marks["manifest-position"].split(":"))
    url = f"http://{registry.host}/v2/toc/blobs/{layer['digest']}"
    request = urllib.request.Request(url, headers={"Range": f"bytes={at}-{at + size - 1}"})
    with urllib.request.urlopen(request) as answer:
        table = answer.read()
    assert marks["manifest-checksum"] == f"sha256:{hashlib.sha256(table).hexdigest()}"
    # A layer that is compressed anew has no table any more, and must not say so.
    fresh_rpod("pull", "-q", PLAIN, chunked)
    fresh_rpod("push", "-q", PLAIN, "--compression-format", "gzip", chunked, plain)
    (layer,) = _layers(_manifest_of(fresh_rpod, f"docker://{plain}"))
    assert "annotations" not in layer


@pytest.mark.rpod_only
def test_converted_layers_do_not_stay(
    fresh_rpod: Command, registry: Registry, docker_archive: str
) -> None:
    fresh_rpod("load", "-q", "-i", docker_archive)
    count = "find $XDG_DATA_HOME/rpod/blobs -type f | wc -l"
    before = fresh_rpod.shell(count).out
    options = ("--compression-format", "zstd", "--compression-level", "9")
    fresh_rpod("push", "-q", PLAIN, *options, "localhost/rpod-test", f"{registry.host}/gone:1")
    assert fresh_rpod.shell(count).out == before


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "v2s2", "--compression-format", "zstd"],
        ["--format", "v2s2", "--compression-format", "zstd:chunked"],
        ["--compression-format", "gzip", "--compression-level", "10"],
        ["--compression-level", "0"],
    ],
    ids=" ".join,
)
@pytest.mark.rpod_only  # podman sends something else than it was asked for
def test_push_in_an_impossible_form_is_refused(
    rpod: Command, image: str, registry: Registry, options: list[str]
) -> None:
    target = f"{registry.host}/impossible:1"
    assert rpod("push", PLAIN, *options, image, target, check=False).code == 125


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci", "dir"])
@pytest.mark.rpod_only  # podman names it by the path
def test_push_to_a_file_and_back(
    rpod: Command, fresh_rpod: Command, image: str, account_dir: str, transport: str
) -> None:
    name = "" if transport == "dir" else ":localhost/filed:7"
    place = f"{transport}:{account_dir}/pushed{name}"
    rpod("push", "-q", image, place)
    rpod.shell(f"skopeo inspect {place}")
    loaded = fresh_rpod("pull", "-q", place).lines[-1]
    if name:
        assert fresh_rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines == [name[1:]]
    assert fresh_rpod("run", "--rm", "--network=none", loaded, "echo", "ran").out == "ran\n"
