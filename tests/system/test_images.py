"""Images: load, import, pull, tag, remove, inspect."""

import io
import json
import subprocess
import tarfile

import pytest

from tests.support import images
from tests.support.command import Command
from tests.support.images import File, directory
from tests.support.registry import Registry

CONFIG: dict[str, object] = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}


def three_layers() -> list[bytes]:
    """A base, a layer that changes it, a layer with whiteouts, a hard link and a setuid bit."""
    base = [
        *images.busybox_files(),
        directory("data"),
        File("data/gone", b"x"),
        File("data/kept", b"k"),
    ]
    base += [directory("opaque"), File("opaque/old", b"o"), File("data/text", b"first\n")]
    second = [File("data/text", b"second\n", 0o640, uid=5, gid=6), File("data/.wh.gone")]
    second += [File("bin/tool", b"#!/bin/sh\necho tool\n", 0o4755)]
    third = [directory("opaque"), File("opaque/.wh..wh..opq"), File("opaque/new", b"n")]
    third += [
        File("data/original", b"linked"),
        File("data/link", kind=tarfile.LNKTYPE, link="data/original"),
    ]
    third += [File("data/" + "long-name-" * 20 + "end", b"l")]
    return [images.tar(base), images.tar(second), images.tar(third)]


SCRIPT = """
cat /data/text; stat -c '%u:%g %a' /data/text; ls /data/gone 2>/dev/null; cat /data/kept; echo
ls /opaque; stat -c %a /bin/tool; stat -c %h /data/link; ls /data | grep -c long-name
"""
EXPECTED = ["second", "5:6 640", "k", "new", "4755", "2", "1"]


@pytest.fixture(scope="module")
def layered(shared_dir: str, registry: Registry) -> str:
    """A three-layer image in the registry, pushed by skopeo; its name there."""
    path = f"{shared_dir}/layered.tar"
    with open(path, "wb") as out:
        out.write(images.docker_archive(three_layers(), CONFIG, "layered:1"))
    return registry.push(f"docker-archive:{path}", "layered:1")


def test_pull_of_a_layered_image(rpod: Command, layered: str) -> None:
    done = rpod("pull", "--tls-verify=false", layered)
    image_id = done.lines[-1]
    assert len(image_id) == 64
    assert rpod("run", "--rm", layered, "sh", "-c", SCRIPT).lines == EXPECTED
    assert rpod("image", "inspect", "--format", "{{.Id}}", layered).out.strip() == image_id
    rpod("rmi", layered)


def test_run_pulls_what_is_missing(rpod: Command, layered: str) -> None:
    done = rpod("run", "--rm", "--tls-verify=false", layered, "cat", "/data/text")
    assert done.out == "second\n"
    rpod("rmi", layered)


def test_pull_never_refuses(rpod: Command, layered: str) -> None:
    done = rpod("run", "--rm", "--pull=never", layered, "true", check=False)
    assert done.code == 125, done.told
    assert layered in done.err


def test_pull_by_digest(rpod: Command, layered: str, registry: Registry) -> None:
    found = registry.skopeo("inspect", "--tls-verify=false", f"docker://{layered}")
    name = layered.rpartition(":")[0] + "@" + json.loads(found)["Digest"]
    rpod("pull", "-q", "--tls-verify=false", name)
    assert rpod("run", "--rm", name, "cat", "/data/text").out == "second\n"
    rpod("rmi", name)


@pytest.mark.parametrize(
    ("form", "compression"), [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")]
)
def test_pull_of_every_format(
    rpod: Command, layered: str, registry: Registry, form: str, compression: str
) -> None:
    name = f"{registry.host}/formats:{form}-{compression}"
    how = ("--format", form, "--dest-compress", "--dest-compress-format", compression)
    target = f"docker://{name}"
    registry.skopeo("copy", "--dest-tls-verify=false", *how, layered_archive(registry), target)
    rpod("pull", "-q", "--tls-verify=false", name)
    assert rpod("run", "--rm", name, "sh", "-c", SCRIPT).lines == EXPECTED
    rpod("rmi", name)


def layered_archive(registry: Registry) -> str:
    """Return the layered image as an archive of plain layers, so that skopeo compresses."""
    path = f"{registry.directory}/layered.tar"
    with open(path, "wb") as out:
        out.write(images.docker_archive(three_layers(), CONFIG, "layered:1"))
    return f"docker-archive:{path}"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        pytest.param("absent:1", "absent", id="repository"),
        pytest.param("layered:absent", "absent", id="tag"),
        pytest.param("layered@sha256:" + "0" * 64, "000000", id="digest"),
    ],
)
def test_pull_of_what_is_not_there(
    rpod: Command, layered: str, registry: Registry, name: str, part: str
) -> None:
    done = rpod("pull", "--tls-verify=false", f"{registry.host}/{name}", check=False)
    assert done.code == 125, done.told
    assert part in done.err


@pytest.mark.parametrize("name", ["Upper/Case", "a:b:c", "", "x@sha256:12", "-dash"])
def test_bad_reference_is_refused(rpod: Command, name: str) -> None:
    done = rpod("pull", name, check=False)
    assert done.code == 125, done.told
    assert done.err.startswith("Error: ") or "Usage" in done.err


@pytest.mark.rpod_only  # podman tries three times with growing pauses
def test_pull_from_nobody(rpod: Command) -> None:
    done = rpod("pull", "127.0.0.1:1/x:1", check=False)
    assert done.code == 125, done.told
    assert "127.0.0.1:1" in done.err


@pytest.mark.parametrize("compress", [False, True])
def test_load_from_standard_input(rpod: Command, compress: bool) -> None:
    name = f"localhost/loaded:{compress}".lower()
    archive = images.docker_archive(three_layers(), CONFIG, name, compress=compress)
    done = rpod("load", input=archive)
    assert name in done.out, done.told
    assert rpod("run", "--rm", name, "sh", "-c", SCRIPT).lines == EXPECTED
    rpod("rmi", name)


def test_load_of_an_oci_archive(
    rpod: Command, layered: str, registry: Registry, shared_dir: str
) -> None:
    path = f"{shared_dir}/oci.tar"
    target = f"oci-archive:{path}:localhost/from-oci:1"
    registry.skopeo("copy", "--src-tls-verify=false", f"docker://{layered}", target)
    rpod("load", "-i", path)
    assert rpod("run", "--rm", "localhost/from-oci:1", "sh", "-c", SCRIPT).lines == EXPECTED
    rpod("rmi", "localhost/from-oci:1")


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "tar of something"])
def test_load_of_what_is_no_archive(rpod: Command, account_dir: str, kind: str) -> None:
    data = {
        "empty": b"",
        "text": b"this is no archive\n" * 100,
        "truncated": images.busybox_archive()[:200_000],
        "tar of something": images.tar([File("some/file", b"text")]),
    }[kind]
    path = f"{account_dir}/archive"
    write = [*rpod.dropping(), "tee", path]
    subprocess.run(write, input=data, stdout=subprocess.DEVNULL, check=True)
    done = rpod("load", "-i", path, check=False)
    assert done.code == 125, done.told
    assert done.out == ""


def test_import_of_a_root_file_system(rpod: Command, busybox_tar: str) -> None:
    rpod("import", "--change", 'CMD ["echo", "imported"]', busybox_tar, "localhost/imported:1")
    assert rpod("run", "--rm", "localhost/imported:1").out == "imported\n"
    rpod("rmi", "localhost/imported:1")


def test_import_for_another_platform(rpod: Command, busybox_tar: str) -> None:
    name = "localhost/imported:arm"
    rpod("import", "--os", "linux", "--arch", "arm", "--variant", "v7", busybox_tar, name)
    found = rpod("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", name)
    assert found.out.strip() == "linux/arm"
    rpod("rmi", name)


def test_import_from_standard_input(rpod: Command) -> None:
    data = images.tar(images.busybox_files())
    image_id = rpod("import", "-q", "-", "localhost/imported:2", input=data).lines[-1]
    assert image_id.removeprefix("sha256:").isalnum()
    assert (
        rpod("run", "--rm", "localhost/imported:2", "cat", "/home/alice/notes").out == "of alice\n"
    )
    rpod("rmi", "localhost/imported:2")


def test_tag_and_untag_by_rmi(rpod: Command, image: str) -> None:
    rpod("tag", image, "localhost/second:name", "third")
    names = rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines
    assert {"localhost/second:name", "localhost/third:latest"} <= set(names)
    rpod("rmi", "localhost/second:name", "third")
    assert image in rpod("images", "--format", "{{.Repository}}:{{.Tag}}").lines


def test_short_name_finds_a_local_image(rpod: Command, image: str) -> None:
    assert rpod("run", "--rm", "rpod-test", "echo", "found").out == "found\n"


def test_image_id_finds_the_image(rpod: Command, image: str) -> None:
    image_id = rpod("image", "inspect", "--format", "{{.Id}}", image).out.strip()
    assert rpod("run", "--rm", image_id[:12], "echo", "found").out == "found\n"


def test_image_in_use_is_not_removed(rpod: Command, busybox_tar: str) -> None:
    rpod("import", busybox_tar, "localhost/used:1")
    rpod("create", "--name", "user", "localhost/used:1", "sh")
    done = rpod("rmi", "localhost/used:1", check=False)
    assert done.code == 2, done.told
    rpod("rm", "user")
    rpod("rmi", "localhost/used:1")


def test_missing_image_is_named(rpod: Command) -> None:
    done = rpod("rmi", "localhost/absent:1", check=False)
    assert done.code == 1, done.told
    assert "localhost/absent:1" in done.err
    assert rpod("image", "exists", "localhost/absent:1", check=False).code == 1


def test_image_inspect(rpod: Command, image: str) -> None:
    document = json.loads(rpod("image", "inspect", image).out)[0]
    assert image in document["RepoTags"]
    assert document["Os"] == "linux"
    assert document["Config"]["Cmd"] == ["sh"]
    assert document["Labels"] == {"made.for": "tests"}
    assert len(document["RootFS"]["Layers"]) == 1


def hostile_layer(kind: str) -> list[File]:
    return {
        "parent": [File("../../../../escaped", b"x")],
        "absolute": [File("/escaped-absolute", b"x")],
        "link then file": [
            File("way", kind=tarfile.SYMTYPE, link="/tmp"),
            File("way/escaped-through-link", b"x"),
        ],
        "relative link out": [
            File("up", kind=tarfile.SYMTYPE, link="../../../../../../tmp"),
            File("up/escaped-through-link", b"x"),
        ],
        "hard link out": [File("shadow", kind=tarfile.LNKTYPE, link="../../../../etc/passwd")],
        "device": [File("device", kind=tarfile.CHRTYPE), File("after", b"x")],
    }[kind]


@pytest.mark.parametrize(
    "kind", ["parent", "absolute", "link then file", "relative link out", "hard link out", "device"]
)
@pytest.mark.rpod_only  # what podman does with each is its own affair
def test_hostile_layer_stays_inside(fresh_rpod: Command, account_dir: str, kind: str) -> None:
    layers = [images.tar(images.busybox_files()), images.tar(hostile_layer(kind))]
    archive = images.docker_archive(layers, CONFIG, "localhost/hostile:1")
    done = fresh_rpod("load", input=archive, check=False)
    if done.code == 0:
        assert fresh_rpod("run", "--rm", "localhost/hostile:1", "echo", "ran").out == "ran\n"
    else:
        assert done.code == 125, done.told
        assert fresh_rpod("images", "-q").out == ""
    found = fresh_rpod.shell(f"ls -d /escaped* /tmp/escaped* {account_dir}/escaped*", check=False)
    assert found.out == ""


@pytest.mark.rpod_only
def test_store_is_an_image_layout_that_skopeo_reads(
    fresh_rpod: Command, account_dir: str, docker_archive: str
) -> None:
    fresh_rpod("load", "-i", docker_archive)
    layout = f"oci:{account_dir}/data/rpod:{images.NAME}"
    found = fresh_rpod.shell(f"skopeo inspect --config {layout}")
    assert json.loads(found.out)["config"]["Labels"] == {"made.for": "tests"}


@pytest.mark.rpod_only  # podman takes what it finds
@pytest.mark.parametrize("known", [False, True], ids=["fresh", "layer-is-there"])
def test_archive_with_a_wrong_digest_is_refused(fresh_rpod: Command, known: bool) -> None:
    if known:
        honest = images.docker_archive([images.tar(images.busybox_files())], CONFIG, "honest:1")
        fresh_rpod("load", "-q", input=honest)
    archive = images.docker_archive([images.tar(images.busybox_files())], CONFIG, "localhost/lie:1")
    files = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        for entry in source:
            opened = source.extractfile(entry)
            data = opened.read() if opened else b""
            if entry.name.endswith("layer.tar"):
                data = images.tar([File("other", b"not what was promised")])
            files.append(File(entry.name, data))
    done = fresh_rpod("load", input=images.tar(files), check=False)
    assert done.code == 125, done.told
    assert "localhost/lie" not in fresh_rpod("images").out


def test_rmi_leaves_the_image_below(rpod: Command) -> None:
    layers = [images.tar(images.busybox_files()), images.tar([File("etc/more", b"m")])]
    for name, count in (("localhost/below:1", 1), ("localhost/above:1", 2)):
        archive = images.docker_archive(layers[:count], {"Cmd": ["true"]}, name)
        rpod("load", "-q", input=archive)
    rpod("rmi", "--no-prune", "localhost/above:1")
    assert rpod("run", "--rm", "localhost/below:1", "echo", "there").out == "there\n"
    rpod("rmi", "localhost/below:1")


@pytest.mark.rpod_only
@pytest.mark.parametrize("policy", ["always", "newer"])
def test_short_name_of_a_local_image_is_not_asked_elsewhere(
    rpod: Command, image: str, policy: str
) -> None:
    short = image.removeprefix("localhost/").removesuffix(":latest")
    done = rpod("run", "--rm", f"--pull={policy}", short, "echo", "mine", check=False)
    if policy == "newer":
        assert done.out == "mine\n"
    else:
        assert f"pull {image}" in done.err
    assert "docker.io" not in done.err


@pytest.mark.rpod_only
def test_never_pulls_for_no_platform(rpod: Command, image: str) -> None:
    done = rpod("run", "--pull=never", "--platform=linux/s390x", image, "true", check=False)
    assert done.code == 125, done.told
    assert "linux/s390x" in done.err


def test_template_sees_settings_that_an_image_does_not_have(
    fresh_rpod: Command, busybox_tar: str
) -> None:
    fresh_rpod("import", "-q", busybox_tar, "localhost/bare:1")
    template = "{{.Config.Entrypoint}} {{len .Config.Env}} {{.Config.Volumes}}-{{.Config.User}}-"
    done = fresh_rpod("image", "inspect", "--format", template, "localhost/bare:1")
    assert done.out == "[] 0 map[]--\n"
    assert fresh_rpod("images", "--format", "{{.History}}").lines == ["localhost/bare:1"]
    assert fresh_rpod("images", "-q", "--filter", "manifest=true").out == ""


def test_question_without_an_answer_is_an_error(rpod: Command) -> None:
    for words in (("image", "prune"), ("system", "prune"), ("container", "prune")):
        done = rpod(*words, check=False)
        assert done.code == 125, done.told
        assert "y/N" in done.out


@pytest.mark.rpod_only  # podman's words are others
def test_single_image_of_another_platform_is_told(
    fresh_rpod: Command, registry: Registry, docker_archive: str
) -> None:
    name = registry.push(f"docker-archive:{docker_archive}", "single/platform:1")
    for _ in range(2):  # the second time nothing is fetched
        done = fresh_rpod("pull", "-q", "--tls-verify=false", "--arch=s390x", name)
        assert f"{name} is one image for linux/" in done.err
        assert "there is none for linux/s390x" in done.err
    assert fresh_rpod("pull", "-q", "--tls-verify=false", name).err == ""


def test_volume_prune_asks_nothing_when_there_is_nothing(fresh_rpod: Command) -> None:
    assert "No dangling volumes found" in fresh_rpod("volume", "prune").out
