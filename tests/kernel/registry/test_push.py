"""Pushes to Debian's docker-registry, and to one that breaks off."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from rootless.host.paths import open_host
from storage.errors import RegistryDenied, RegistryError, RegistryInterrupted, StorageError
from storage.events import Event
from storage.images import find_image
from storage.reference import parse_reference
from storage.registry.options import Credentials, PullOptions
from storage.registry.push import push_image
from tests.conftest import InAccount
from tests.kernel.registry.pulling import QUICK, pull
from tests.kernel.registry.receiving import Receiver, receiver
from tests.registries import PASSWORD, USER, DockerRegistry, FakeRegistry, TokenServer
from tests.support.images import File, tar
from tests.support.oci import Image, make_image

_PATIENT = QUICK._replace(read_timeout_s=10.0, document_timeout_s=10.0)
_ALICE = _PATIENT._replace(credentials=Credentials(USER, PASSWORD))


@pytest.fixture
def receiving() -> Iterator[Receiver]:
    """A registry that does what the test says, fresh for each."""
    with receiver() as running:
        yield running


def _image(text: str, *, docker: bool = False, large_bytes: int = 0) -> Image:
    layers = [tar([File("one", f"one {text}".encode())]), tar([File("two", b"two" * 500)])]
    if large_bytes:
        # Random bytes stay as large when they are compressed.
        layers.append(tar([File("large", os.urandom(large_bytes))]))
    return make_image(layers, docker=docker)


def _push(
    store: str, name: str, target: str, options: PullOptions = _PATIENT
) -> tuple[str, StorageError | None, list[Event]]:
    events: list[Event] = []
    layout = open_host(root=store).layout
    try:
        digest = push_image(
            layout,
            find_image(layout, name),
            parse_reference(target),
            options=options,
            events=events.append,
        )
    except StorageError as error:
        return "", error, events
    return digest, None, events


def _pull_and_push(
    in_account: InAccount,
    store: str,
    source: str,
    target: str,
    options: PullOptions = _PATIENT,
    pull_options: PullOptions = _PATIENT,
) -> tuple[str, StorageError | None, list[Event]]:
    def body() -> tuple[str, StorageError | None, list[Event]]:
        assert pull(store, source, pull_options).image
        return _push(store, source, target, options)

    return in_account(body)


def _digest_by_skopeo(target: str, *options: str) -> str:
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", *options, f"docker://{target}"],
        capture_output=True,
        check=True,
    )
    return subprocess.run(
        ["skopeo", "manifest-digest", "/dev/stdin"],
        input=done.stdout,
        capture_output=True,
        check=True,
    ).stdout.decode().strip()  # fmt: skip


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_pushed_image_keeps_its_digest(
    docker: bool, fake: FakeRegistry, plain_registry: DockerRegistry, in_account: InAccount,
    account_dir: str,
) -> None:  # fmt: skip
    image = _image(f"digest {docker}", docker=docker)
    source = fake.add("from/here", image)
    target = f"{plain_registry.host}/kept/{docker}:1".lower()
    digest, error, _ = _pull_and_push(in_account, account_dir, source, target)
    assert error is None
    assert digest == image.digest == _digest_by_skopeo(target, "--tls-verify=false")
    # Every blob is read, and its digest checked.
    copy = ["skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false"]
    subprocess.run([*copy, f"docker://{target}", f"dir:{account_dir}/copy"], check=True)


def test_second_push_sends_no_blob(
    fake: FakeRegistry, plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    source = fake.add("from/here", _image("twice"))
    target = f"{plain_registry.host}/twice"
    assert _pull_and_push(in_account, account_dir, source, f"{target}:1")[1] is None
    seen = len(plain_registry.requests())
    _, error, events = in_account(lambda: _push(account_dir, source, f"{target}:2"))
    assert error is None
    methods = {method for method, _, _ in plain_registry.requests(seen)}
    assert methods == {"HEAD", "PUT"}
    assert {event.kind for event in events} == {"blob-exists"}


def test_blobs_are_mounted_from_another_repository(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    source = plain_registry.push("origin/image", _image("mount"))
    seen = len(plain_registry.requests())
    target = f"{plain_registry.host}/mounted/image:1"
    assert _pull_and_push(in_account, account_dir, source, target)[1] is None
    asked = plain_registry.requests(seen)
    posts = [(path, status) for method, path, status in asked if method == "POST"]
    assert len(posts) == 3
    assert all("from=origin/image" in path and status == 201 for path, status in posts)
    assert not any(method == "PATCH" for method, _, _ in asked)


def test_push_over_tls_with_the_authority_given(
    fake: FakeRegistry, tls_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image("tls")
    source = fake.add("from/here", image)
    target = f"{tls_registry.host}/tls:1"
    trusting = _PATIENT._replace(ca_dir=tls_registry.ca_dir)
    _, error, _ = _pull_and_push(in_account, account_dir, source, target, _PATIENT)
    assert isinstance(error, RegistryError)
    assert "not trusted" in error.message
    digest, error, _ = in_account(lambda: _push(account_dir, source, target, trusting))
    assert error is None
    assert digest == _digest_by_skopeo(target, "--tls-verify=false")


def test_push_with_a_password(
    fake: FakeRegistry, basic_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    source = fake.add("from/here", _image("basic", large_bytes=2 << 20))
    target = f"{basic_registry.host}/basic:1"
    _, error, _ = _pull_and_push(in_account, account_dir, source, target)
    assert isinstance(error, RegistryDenied)
    digest, error, _ = in_account(lambda: _push(account_dir, source, target, _ALICE))
    assert error is None
    assert digest == _digest_by_skopeo(
        target, "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}"
    )


def test_push_asks_for_tokens_that_may_write(
    token_registry: DockerRegistry, tokens: TokenServer, in_account: InAccount, account_dir: str
) -> None:
    source = token_registry.push("public/source", _image("token"))
    target = f"{token_registry.host}/private/image:1"
    _, error, _ = _pull_and_push(in_account, account_dir, source, target)
    assert isinstance(error, RegistryDenied)
    digest, error, _ = in_account(lambda: _push(account_dir, source, target, _ALICE))
    assert error is None
    assert (USER, "repository:private/image:pull,push") in tokens.given
    # Mounting needs a token for the other repository, too.
    assert (USER, "repository:public/source:pull") in tokens.given
    assert digest == _digest_by_skopeo(
        target, "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}"
    )


def test_upload_goes_on_where_it_broke_off(
    fake: FakeRegistry, receiving: Receiver, in_account: InAccount, account_dir: str
) -> None:
    image = _image("resume", large_bytes=3 << 20)
    source = fake.add("from/here", image)
    receiving.break_after_bytes = [1 << 20]
    digest, error, events = _pull_and_push(
        in_account, account_dir, source, f"{receiving.host}/resumed:1"
    )
    assert error is None
    assert digest == image.digest
    assert receiving.blobs == image.blobs
    assert receiving.manifests["1"] == (image.data, image.media_type)
    patches = [one for one in receiving.asked if one.method == "PATCH"]
    size = max(len(data) for data in image.blobs.values())
    assert [one.arrived_bytes for one in patches] == [1 << 20, size - (1 << 20)]
    assert patches[1].content_range == f"{1 << 20}-{size - 1}"
    assert [event.kind for event in events].count("retry") == 1


def test_upload_that_the_registry_forgot_begins_anew(
    fake: FakeRegistry, receiving: Receiver, in_account: InAccount, account_dir: str
) -> None:
    image = _image("forgotten", large_bytes=3 << 20)
    source = fake.add("from/here", image)
    receiving.break_after_bytes = [1 << 20]
    receiving.forgets_uploads = True
    _, error, _ = _pull_and_push(in_account, account_dir, source, f"{receiving.host}/again:1")
    assert error is None
    assert receiving.blobs == image.blobs


def test_registry_that_takes_no_parts_gets_the_whole(
    fake: FakeRegistry, receiving: Receiver, in_account: InAccount, account_dir: str
) -> None:
    image = _image("whole", large_bytes=3 << 20)
    source = fake.add("from/here", image)
    receiving.takes_parts = False
    _, error, _ = _pull_and_push(in_account, account_dir, source, f"{receiving.host}/whole:1")
    assert error is None
    assert receiving.blobs == image.blobs


def test_busy_registry_is_asked_again(
    fake: FakeRegistry, receiving: Receiver, in_account: InAccount, account_dir: str
) -> None:
    source = fake.add("from/here", _image("busy"))
    receiving.busy = ["/manifests/", "/blobs/", "/manifests/"]
    _, error, events = _pull_and_push(in_account, account_dir, source, f"{receiving.host}/b:1")
    assert error is None
    assert [event.kind for event in events].count("retry") == 3


def test_retries_end(
    fake: FakeRegistry, receiving: Receiver, in_account: InAccount, account_dir: str
) -> None:
    source = fake.add("from/here", _image("never"))
    receiving.busy = ["/v2/"] * 100
    _, error, _ = _pull_and_push(in_account, account_dir, source, f"{receiving.host}/never:1")
    assert isinstance(error, RegistryInterrupted)
    assert receiving.manifests == {}


def test_damaged_blob_is_refused_and_no_manifest_sent(
    fake: FakeRegistry, receiving: Receiver, in_account: InAccount, account_dir: str
) -> None:
    image = _image("damaged")
    source = fake.add("from/here", image)
    layer = json.loads(image.data)["layers"][0]["digest"]

    def body() -> StorageError | None:
        assert pull(account_dir, source, _PATIENT).image
        path = open_host(root=account_dir).layout.blob(layer)
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            file.write(b"other")
        return _push(account_dir, source, f"{receiving.host}/damaged:1")[1]

    error = in_account(body)
    assert isinstance(error, RegistryError)
    assert "other bytes" in error.message
    assert receiving.manifests == {}
