"""policy.json that wants signatures: made by skopeo and openssl, verified by the command."""

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from typing import NamedTuple

import pytest

from tests.support.command import Command, is_podman
from tests.support.oci import sha256
from tests.support.registry import Registry

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "openssl", "skopeo"))), reason="gpg, openssl or skopeo"
)
PLAIN = "--tls-verify=false"


class Keys(NamedTuple):
    """Keys in files that everybody may read; `home` is a GNUPGHOME with the secret halves."""

    home: str
    good: str
    other: str
    sigstore: str
    sigstore_secret: str


@pytest.fixture(scope="module")
def keys(shared_dir: str) -> Keys:
    home = f"{shared_dir}/gnupg"
    os.mkdir(home, 0o700)
    for name in ("good", "other"):
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
        mail = f"{name}@example.org"
        subprocess.run([*gpg, "--quick-generate-key", mail, "ed25519", "sign"], check=True)
        with open(f"{shared_dir}/{name}.gpg", "wb") as out:
            subprocess.run([*gpg, "--export", "--armor", mail], stdout=out, check=True)
    secret, public = f"{shared_dir}/cosign.key", f"{shared_dir}/cosign.pub"
    make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*make, "-out", secret], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-out", public], check=True)
    return Keys(home, f"{shared_dir}/good.gpg", f"{shared_dir}/other.gpg", public, secret)


class Place:
    """A user's configuration: the policy, and where signatures are."""

    def __init__(self, command: Command, home: str) -> None:
        self._command = command
        self.lookaside = f"{home}/lookaside"
        self._directory = f"{home}/.config/containers"
        command.shell(f"mkdir -p {self._directory}/registries.d {self.lookaside}")

    def write(self, name: str, text: str) -> None:
        path = f"{self._directory}/{name}"
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o644)

    def demand(self, *requirements: dict[str, object]) -> None:
        """Let registries be asked for signatures, and take nothing else."""
        policy = {
            "default": [{"type": "reject"}],
            "transports": {"docker": {"": list(requirements)}, "dir": {"": list(requirements)}},
        }
        self.write("policy.json", json.dumps(policy))
        lines = "default-docker:\n  use-sigstore-attachments: true\n"
        self.write(
            "registries.d/here.yaml", f"# signatures\n{lines}  lookaside: file://{self.lookaside}\n"
        )


@pytest.fixture
def place(fresh_rpod: Command, account_dir: str) -> Place:
    return Place(fresh_rpod, account_dir)


@pytest.fixture
def signed(registry: Registry, docker_archive: str, keys: Keys, place: Place) -> str:
    """An image that the good key has signed, its signature in the lookaside."""
    name = f"{registry.host}/signed/{os.urandom(4).hex()}:1"
    directory = f"{registry.directory}/registries.d"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/sign.yaml", "w", encoding="utf-8") as out:
        out.write(f"default-docker:\n  lookaside: file://{place.lookaside}\n")
    options = ["--insecure-policy", "--registries.d", directory, "copy", "--dest-tls-verify=false"]
    subprocess.run(
        ["skopeo", *options, "--sign-by", "good@example.org", f"docker-archive:{docker_archive}",
         f"docker://{name}"],
        env={**os.environ, "GNUPGHOME": keys.home},
        check=True,
        capture_output=True,
    )  # fmt: skip
    subprocess.run(["chmod", "-R", "a+rX", place.lookaside], check=True)
    return name


def gpg_keys(path: str, **more: object) -> dict[str, object]:
    return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": path, **more}


def test_signed_image_is_pulled(fresh_rpod: Command, signed: str, keys: Keys, place: Place) -> None:
    place.demand(gpg_keys(keys.good))
    fresh_rpod("pull", "-q", PLAIN, signed)
    assert fresh_rpod("run", "--rm", "--network=none", signed, "echo", "ran").out == "ran\n"
    # The policy counts each time, also where nothing would have to be fetched.
    place.demand(gpg_keys(keys.other))
    assert fresh_rpod("pull", "-q", PLAIN, signed, check=False).code == 125


def test_key_in_the_policy_itself(
    fresh_rpod: Command, signed: str, keys: Keys, place: Place
) -> None:
    with open(keys.good, "rb") as file:
        data = base64.b64encode(file.read()).decode()
    place.demand({"type": "signedBy", "keyType": "GPGKeys", "keyData": data})
    fresh_rpod("pull", "-q", PLAIN, signed)


@pytest.mark.parametrize("how", ["unsigned", "other-key", "other-name", "other-image", "damaged"])
def test_image_without_a_good_signature_is_refused(
    fresh_rpod: Command,
    registry: Registry,
    docker_archive: str,
    signed: str,
    keys: Keys,
    place: Place,
    how: str,
) -> None:
    requirement = gpg_keys(keys.other if how == "other-key" else keys.good)
    name = signed
    (found,) = os.listdir(f"{place.lookaside}/signed")
    path = f"{place.lookaside}/signed/{found}/signature-1"
    if how == "unsigned":
        os.unlink(path)
    elif how == "damaged":
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(b"\0\0\0\0")
    elif how == "other-name":
        name = signed.replace(":1", ":2")
        registry.skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false",
                        f"docker://{signed}", f"docker://{name}")  # fmt: skip
    elif how == "other-image":
        registry.skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false",
                        "--dest-compress-format=zstd", "--format=oci", f"docker://{signed}",
                        f"docker://{name}")  # fmt: skip
        digest = json.loads(registry.skopeo("inspect", "--tls-verify=false", f"docker://{name}"))[
            "Digest"
        ]
        repository = found.partition("@")[0]
        os.rename(f"{place.lookaside}/signed/{found}",
                  f"{place.lookaside}/signed/{repository}@{digest.replace(':', '=')}")  # fmt: skip
    place.demand(requirement)
    done = fresh_rpod("pull", "-q", PLAIN, name, check=False)
    assert done.code == 125, done.told
    assert is_podman() or "policy.json" in done.err
    assert fresh_rpod("image", "exists", name, check=False).code == 1


def test_identity_says_whose_signature_counts(
    fresh_rpod: Command, registry: Registry, signed: str, keys: Keys, place: Place
) -> None:
    copy = f"{registry.host}/mirror/app:9"
    registry.skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false",
                    f"docker://{signed}", f"docker://{copy}")  # fmt: skip
    (found,) = os.listdir(f"{place.lookaside}/signed")
    os.mkdir(f"{place.lookaside}/mirror", 0o755)
    os.rename(f"{place.lookaside}/signed/{found}",
              f"{place.lookaside}/mirror/app@{found.partition('@')[2]}")  # fmt: skip
    place.demand(gpg_keys(keys.good))
    assert fresh_rpod("pull", "-q", PLAIN, copy, check=False).code == 125
    place.demand(
        gpg_keys(keys.good, signedIdentity={"type": "exactReference", "dockerReference": signed})
    )
    fresh_rpod("pull", "-q", PLAIN, copy)


def _put(url: str, data: bytes, kind: str) -> None:
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method="PUT")
    urllib.request.urlopen(request).close()


def _upload(host: str, repository: str, data: bytes) -> dict[str, object]:
    base = f"http://{host}/v2/{repository}/blobs/uploads/"
    with urllib.request.urlopen(urllib.request.Request(base, b"", method="POST")) as answer:
        location = answer.headers["Location"]
    separator = "&" if "?" in location else "?"
    _put(f"{location}{separator}digest={sha256(data)}", data, "application/octet-stream")
    return {"digest": sha256(data), "size": len(data)}


def attach(registry: Registry, name: str, digest: str, keys: Keys) -> None:
    """Sign as cosign does: a document, and an image that carries it."""
    repository = name.partition("/")[2].rpartition(":")[0]
    critical = {
        "type": "cosign container image signature",
        "image": {"docker-manifest-digest": digest},
        "identity": {"docker-reference": name},
    }
    document = json.dumps({"critical": critical, "optional": None}).encode()
    sign = ["openssl", "dgst", "-sha256", "-sign", keys.sigstore_secret]
    proof = subprocess.run(sign, input=document, capture_output=True, check=True).stdout
    config = {"mediaType": "application/vnd.oci.image.config.v1+json",
              **_upload(registry.host, repository, b"{}")}  # fmt: skip
    layer = {
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        **_upload(registry.host, repository, document),
        "annotations": {"dev.cosignproject.cosign/signature": base64.b64encode(proof).decode()},
    }
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
    tag = f"{digest.replace(':', '-')}.sig"
    _put(
        f"http://{registry.host}/v2/{repository}/manifests/{tag}",
        json.dumps(manifest).encode(),
        kind,
    )


@pytest.mark.rpod_only  # Debian's podman has them disabled
def test_sigstore_signature_by_a_key(
    fresh_rpod: Command, registry: Registry, docker_archive: str, keys: Keys, place: Place
) -> None:
    name = registry.push(f"docker-archive:{docker_archive}", f"sigstore/{os.urandom(4).hex()}:1")
    place.demand({"type": "sigstoreSigned", "keyPath": keys.sigstore})
    done = fresh_rpod("pull", PLAIN, name, check=False)
    assert done.code == 125, done.told
    assert is_podman() or "it has none" in done.err
    found = json.loads(registry.skopeo("inspect", "--tls-verify=false", f"docker://{name}"))
    attach(registry, name, "sha256:" + "0" * 64, keys)
    attach(registry, name, found["Digest"], keys)
    fresh_rpod("pull", "-q", PLAIN, name)
    subprocess.run(["cp", keys.good, f"{place.lookaside}/wrong"], check=True)
    place.demand({"type": "sigstoreSigned", "keyPath": f"{place.lookaside}/wrong"})
    done = fresh_rpod("pull", "-q", PLAIN, name, check=False)
    assert done.code == 125, done.told
    assert is_podman() or "cannot be read" in done.err


def test_transparency_logs_are_not_ignored(
    fresh_rpod: Command, signed: str, keys: Keys, place: Place
) -> None:
    place.demand(
        {"type": "sigstoreSigned", "keyPath": keys.sigstore, "rekorPublicKeyPath": keys.sigstore}
    )
    done = fresh_rpod("pull", "-q", PLAIN, signed, check=False)
    assert done.code == 125
    assert "rekorPublicKeyPath" in done.err


def test_files_are_held_against_the_policy(
    fresh_rpod: Command, docker_archive: str, signed: str, keys: Keys, place: Place
) -> None:
    place.demand(gpg_keys(keys.good))
    with open(docker_archive, "rb") as archive:
        data = archive.read()
    for words in (["load", "-i", docker_archive], ["pull", f"docker-archive:{docker_archive}"]):
        done = fresh_rpod(*words, check=False)
        assert done.code == 125
        assert is_podman() or "the policy rejects it" in done.err
    assert fresh_rpod("load", input=data, check=False).code == 125
    assert fresh_rpod("import", docker_archive, check=False).code == 125
    assert fresh_rpod("images", "-q").out == ""


def test_signature_in_a_directory_counts(
    fresh_rpod: Command, registry: Registry, signed: str, keys: Keys, place: Place, shared_dir: str
) -> None:
    directory = f"{shared_dir}/{os.urandom(4).hex()}"
    registry.skopeo("--registries.d", f"{registry.directory}/registries.d", "copy",
                    "--src-tls-verify=false", f"docker://{signed}", f"dir:{directory}")  # fmt: skip
    subprocess.run(["chmod", "-R", "a+rX", directory], check=True)
    identity = {"type": "exactReference", "dockerReference": signed}
    place.demand(gpg_keys(keys.good, signedIdentity=identity))
    fresh_rpod("pull", "-q", f"dir:{directory}")
    place.demand(gpg_keys(keys.other, signedIdentity=identity))
    assert fresh_rpod("pull", "-q", f"dir:{directory}", check=False).code == 125
