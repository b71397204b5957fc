"""Images there and back: skopeo, umoci, buildah and podman through registries and archives.

What arrives is compared file by file (mode, owner, links, time, content, attributes), and digests
of what nobody has reason to change. The other tools run as root, with stores of their own.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import InAccount
from tests.kernel.storage import layers, views
from tests.kernel.storage.layers import LOWER, MIDDLE, UPPER
from tests.kernel.storage.views import Tree
from tests.registries import PASSWORD, USER, DockerRegistry, docker_registry, missing, token_server
from tests.support.command import Command

pytestmark = [
    pytest.mark.rpod_only,
    pytest.mark.skipif(
        os.getuid() != 0
        or bool(missing("docker-registry", "skopeo", "umoci", "buildah", "podman")),
        reason="root only; needed: docker-registry skopeo umoci buildah podman",
    ),
]
CREDENTIALS = f"{USER}:{PASSWORD}"
NAME = "localhost/hard:1"
# A user's namespace holds no device nodes, and no layer may bring overlay's own attributes.
_LEFT_OUT = ("dev/null", "bin/attribute")
PARTS = [[one for one in part if one.name not in _LEFT_OUT] for part in (LOWER, MIDDLE, UPPER)]
PARTS[0].append(layers.Member("bin/attribute", b"x", xattrs={"user.foo": b"bar"}))


_FULL = pytest.mark.full


class Place(NamedTuple):
    """A registry with TLS, and a directory that has only its authority's certificate."""

    registry: DockerRegistry
    certificates: str

    def name(self, text: str) -> str:
        return f"{self.registry.host}/{text}"


def _place(registry: DockerRegistry, directory: Path) -> Place:
    directory.chmod(0o755)
    shutil.copy(f"{registry.ca_dir}/ca.crt", directory / "ca.crt")
    return Place(registry, str(directory))


@pytest.fixture(scope="module")
def with_password(shared_dir: str) -> Iterator[Place]:
    directory = Path(shared_dir, "password-certs")
    directory.mkdir()
    with docker_registry(tls=True, htpasswd=True) as registry:
        yield _place(registry, directory)


@pytest.fixture(scope="module")
def with_tokens(shared_dir: str) -> Iterator[Place]:
    directory = Path(shared_dir, "token-certs")
    directory.mkdir()
    with (
        token_server(tls=True) as tokens,
        docker_registry(tls=True, token_realm=tokens) as registry,
    ):
        shutil.copy(tokens.ca, directory / "tokens.crt")
        yield _place(registry, directory)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    found = request.getfixturevalue(f"with_{request.param}")
    assert isinstance(found, Place)
    return found


class Tools:
    """The other tools, as root, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        own = {"HOME": str(directory), "XDG_RUNTIME_DIR": str(directory), "TMPDIR": str(directory)}
        self._environment = {"PATH": os.environ["PATH"], **own}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            arguments, env=self._environment, capture_output=True, text=True, check=False,
            cwd=self.directory,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def skopeo(self, *arguments: str) -> str:
        return self("skopeo", "--insecure-policy", *arguments)

    def store(self, tool: str, *arguments: str) -> str:
        """Run buildah or podman with a store of this test."""
        where = ("--root", f"{self.directory}/{tool}", "--runroot", f"{self.directory}/run",
                 "--storage-driver", "vfs")  # fmt: skip
        return self(tool, *where, *arguments)

    def store_tree(self, tool: str, name: str) -> Tree:
        """Describe an image in the store of buildah or podman."""
        if tool == "podman":
            found = views.tree_of(self.store(tool, "image", "mount", name))
            self.store(tool, "image", "unmount", name)
            return _comparable(found)
        container = self.store(tool, "from", "--pull-never", name)
        found = views.tree_of(self.store(tool, "mount", container))
        self.store(tool, "umount", container)
        self.store(tool, "rm", container)
        return _comparable(found)

    def umoci_tree(self, layout: str) -> Tree:
        bundle = f"{self.directory}/bundle"
        self("umoci", "unpack", "--image", layout, bundle)
        found = views.tree_of(f"{bundle}/rootfs")
        shutil.rmtree(bundle)
        return _comparable(found)


@pytest.fixture
def tools(shared_dir: str) -> Iterator[Tools]:
    directory = Path(tempfile.mkdtemp(dir=shared_dir))
    directory.chmod(0o755)
    policy = directory / ".config/containers"
    policy.mkdir(parents=True)
    (policy / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    yield Tools(directory)
    shutil.rmtree(directory)


@pytest.fixture
def hard(fresh_rpod: Command) -> Command:
    """A store with an image that has what layers can have."""
    parts = [layers.layer(part) for part in PARTS]
    fresh_rpod("load", "-q", input=layers.docker_archive(parts, name=NAME))
    return fresh_rpod


def _comparable(tree: Tree) -> Tree:
    """Leave out what the specification leaves open: times of directories that were implied."""
    found = {}
    for path, (mode, uid, gid, links, mtime, content, attributes) in tree.items():
        time = mtime if not str(mode).startswith("d") else 0
        found[path] = [mode, uid, gid, links, time, content, attributes]
    return found


def own_tree(in_account: InAccount, command: Command, name: str) -> Tree:
    """Describe an image in rpod's store, through an overlay."""
    store = f"{command.environment['XDG_DATA_HOME']}/rpod"
    return _comparable(in_account(views.view, store, name, "overlay"))


def digest(command: Command, name: str) -> str:
    return command("image", "inspect", "--format", "{{.Digest}}", name).out.strip()


def access(place: Place) -> tuple[str, ...]:
    return ("--creds", CREDENTIALS, "--cert-dir", place.certificates)


@pytest.mark.parametrize(
    ("place", "compression"),
    [
        ("password", "zstd:chunked"),
        ("tokens", ""),
        pytest.param("password", "", marks=_FULL),
        pytest.param("password", "gzip", marks=_FULL),
        pytest.param("password", "zstd", marks=_FULL),
        pytest.param("tokens", "gzip", marks=_FULL),
        pytest.param("tokens", "zstd", marks=_FULL),
        pytest.param("tokens", "zstd:chunked", marks=_FULL),
    ],
    indirect=["place"],
)
def test_skopeo_and_umoci_see_what_was_pushed(
    in_account: InAccount, hard: Command, tools: Tools, place: Place, compression: str
) -> None:
    target = place.name(f"there/{compression.replace(':', '-') or 'plain'}:1")
    how = ("--compression-format", compression) if compression else ()
    told = f"{hard.environment['HOME']}/digest"
    hard("push", "-q", *access(place), *how, "--format", "oci", "--digestfile", told, NAME, target)
    tools.skopeo("copy", "--preserve-digests", "--src-creds", CREDENTIALS, "--src-cert-dir",
                 place.certificates, f"docker://{target}", "oci:layout:x")  # fmt: skip
    (entry,) = json.loads((tools.directory / "layout/index.json").read_text())["manifests"]
    assert entry["digest"] == Path(told).read_text()
    if not compression.startswith("zstd"):  # umoci 0.4 does not know zstd
        assert tools.umoci_tree("layout:x") == own_tree(in_account, hard, NAME)


@pytest.mark.parametrize(
    ("place", "tool", "compression"),
    [
        ("tokens", "buildah", "zstd"),
        ("password", "podman", "zstd:chunked"),
        pytest.param("password", "buildah", "gzip", marks=_FULL),
        pytest.param("tokens", "podman", "gzip", marks=_FULL),
    ],
    indirect=["place"],
)
def test_what_was_pushed_is_seen_and_given_back(
    in_account: InAccount,
    hard: Command,
    tools: Tools,
    place: Place,
    tool: str,
    compression: str,
) -> None:
    there, back = place.name(f"{tool}/there:1"), place.name(f"{tool}/back:1")
    hard("push", "-q", *access(place), "--compression-format", compression, NAME, there)
    tools.store(tool, "pull", "-q", *access(place), there)
    expected = own_tree(in_account, hard, NAME)
    assert tools.store_tree(tool, there) == expected
    told = f"{tools.directory}/digest"
    tools.store(tool, "push", "-q", *access(place), "--digestfile", told, there, f"docker://{back}")
    hard("rmi", "-af")
    hard("pull", "-q", *access(place), back)
    assert digest(hard, back) == Path(told).read_text()
    assert own_tree(in_account, hard, back) == expected


@pytest.mark.parametrize(
    ("place", "compression"),
    [
        ("tokens", "zstd"),
        pytest.param("password", "gzip", marks=_FULL),
    ],
    indirect=["place"],
)
def test_what_skopeo_sends_is_pulled(
    in_account: InAccount, hard: Command, tools: Tools, place: Place, compression: str
) -> None:
    target = place.name(f"skopeo/{compression}:1")
    expected = own_tree(in_account, hard, NAME)
    saved = f"{hard.environment['HOME']}/saved"
    hard("save", "-q", "-o", saved, NAME)
    told = f"{tools.directory}/digest"
    tools.skopeo("copy", "--dest-creds", CREDENTIALS, "--dest-cert-dir", place.certificates,
                 "--dest-compress-format", compression, "--format", "oci", "--digestfile", told,
                 f"docker-archive:{saved}", f"docker://{target}")  # fmt: skip
    hard("rmi", "-af")
    hard("pull", "-q", *access(place), target)
    assert digest(hard, target) == Path(told).read_text()
    assert own_tree(in_account, hard, target) == expected


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci", "dir"])
def test_archives_go_there_and_back(
    in_account: InAccount, hard: Command, tools: Tools, form: str
) -> None:
    home = hard.environment["HOME"]
    suffix = "" if form == "dir" else f":{NAME}"
    there, back = f"{form}:{home}/there{suffix}", f"{form}:{tools.directory}/back{suffix}"
    expected = own_tree(in_account, hard, NAME)
    hard("push", "-q", NAME, there)
    # skopeo inflates what it puts into a docker-archive.
    how = () if form == "docker-archive" else ("--preserve-digests",)
    tools.skopeo("copy", *how, there, back)
    identity = digest(hard, hard("pull", "-q", there).out.strip())
    hard("rmi", "-af")
    image = hard("pull", "-q", back).out.strip()
    assert own_tree(in_account, hard, image) == expected
    if form != "docker-archive":
        assert digest(hard, image) == identity
    if form == "oci":
        assert tools.umoci_tree(f"{tools.directory}/back{suffix}") == expected


def test_what_umoci_repacks_is_pulled(in_account: InAccount, hard: Command, tools: Tools) -> None:
    home = hard.environment["HOME"]
    hard("push", "-q", NAME, f"oci:{home}/layout:x")
    layout, bundle = f"{tools.directory}/layout", f"{tools.directory}/bundle"
    shutil.copytree(f"{home}/layout", layout)
    tools("umoci", "unpack", "--image", f"{layout}:x", bundle)
    shutil.rmtree(f"{bundle}/rootfs/usr")
    os.link(f"{bundle}/rootfs/hl1", f"{bundle}/rootfs/hl9")
    os.setxattr(f"{bundle}/rootfs/hl1", "user.more", b"attribute")
    tools("umoci", "repack", "--image", f"{layout}:y", bundle)
    expected = _comparable(views.tree_of(f"{bundle}/rootfs"))
    tools("chmod", "-R", "a+rX", layout)
    image = hard("pull", "-q", f"oci:{layout}:y").out.strip()
    assert own_tree(in_account, hard, image) == expected


def test_an_index_keeps_its_digest_on_all_ways(
    hard: Command, tools: Tools, with_password: Place, with_tokens: Place
) -> None:
    first, second = with_password.name("multi/one:1"), with_tokens.name("multi/two:1")
    hard("manifest", "create", "both", NAME)
    hard("import", "-q", "--os", "linux", "--arch", "arm64", "-", "localhost/other:1",
         input=layers.layer(PARTS[0]))  # fmt: skip
    hard("manifest", "add", "both", "localhost/other:1")
    hard("manifest", "push", "-q", "--all", *access(with_password), "both", f"docker://{first}")
    raw = tools.skopeo("inspect", "--raw", "--creds", CREDENTIALS, "--cert-dir",
                       with_password.certificates, f"docker://{first}")  # fmt: skip
    platforms = {entry["platform"]["architecture"] for entry in json.loads(raw)["manifests"]}
    assert platforms == {"amd64", "arm64"}
    certificates = ("--src-cert-dir", with_password.certificates,
                    "--dest-cert-dir", with_tokens.certificates)  # fmt: skip
    users = ("--src-creds", CREDENTIALS, "--dest-creds", CREDENTIALS)
    tools.skopeo("copy", "--all", "--preserve-digests", *certificates, *users,
                 f"docker://{first}", f"docker://{second}")  # fmt: skip
    hard("rmi", "-af")
    for architecture in ("amd64", "arm64"):
        hard("pull", "-q", *access(with_tokens), "--arch", architecture, second)
        found = hard("image", "inspect", "--format", "{{.Architecture}}", second)
        assert found.out.strip() == architecture
    assert raw == tools.skopeo("inspect", "--raw", "--creds", CREDENTIALS, "--cert-dir",
                               with_tokens.certificates, f"docker://{second}")  # fmt: skip
