"""Registries that refuse, lie, stall or babble: one clear error, and nothing to stumble over."""

import json
import time
from collections.abc import Callable

import pytest

from storage.errors import (
    DigestMismatch,
    InvalidDocument,
    InvalidLayer,
    ManifestUnknown,
    RegistryDenied,
    RegistryError,
    RegistryInterrupted,
    RegistryProtocolError,
    RegistryTimeout,
    RegistryUnreachable,
    StorageError,
)
from tests.conftest import InAccount
from tests.kernel.registry.pulling import QUICK, Outcome, left_over, partials, pull
from tests.registries import FakeHandler, FakeRegistry, free_port
from tests.support.images import File, tar
from tests.support.oci import Image, change_manifest, make_image, sha256

_LAYER = tar([File("data", bytes(range(256)) * 400)])
_NAME = "team/app"


def _image() -> Image:
    return make_image([_LAYER], compression="none")


def _one_line(error: StorageError) -> bool:
    return error.message.isprintable() and error.remedy.isprintable()


def _fails(
    fake: FakeRegistry, in_account: InAccount, store: str, image: Image | None = None
) -> StorageError:
    """Pull, see that it fails clearly and leaves nothing, heal, and see that it works then."""
    name = fake.add(_NAME, image or _image())
    outcome = in_account(lambda: pull(store, name))
    error = outcome.error
    assert error is not None
    assert _one_line(error)
    assert _NAME in error.message
    assert left_over(store) == []
    if image is None:
        fake.heal()
        assert in_account(lambda: pull(store, name)).image.names == (name,)
        assert partials(store) == {}
    return error


def _answer(
    status: int, body: bytes, headers: dict[str, str] | None = None
) -> Callable[[FakeHandler], None]:
    return lambda handler: handler.send(status, body, headers)


def _redirect(target: str) -> Callable[[FakeHandler], None]:
    return _answer(307, b"", {"Location": target})


# --- manifests --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [":nope", f"@{sha256(b'nothing')}"], ids=["tag", "digest"])
def test_unknown_tag_or_digest_is_named(
    suffix: str, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.add(_NAME, _image())
    error = in_account(lambda: pull(account_dir, f"{fake.host}/{_NAME}{suffix}")).error
    assert isinstance(error, ManifestUnknown)
    assert error.message.startswith(f"pull {fake.host}/{_NAME}{suffix}: ")
    assert left_over(account_dir) == []


def test_a_manifest_of_another_digest_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = f"{fake.host}/{_NAME}@{image.digest}"
    fake.add(_NAME, image)
    fake.fault("/manifests/", _answer(200, make_image([]).data))
    error = in_account(lambda: pull(account_dir, name)).error
    assert isinstance(error, DigestMismatch)
    assert image.digest in error.message
    assert left_over(account_dir) == []


def test_a_manifest_unlike_its_digest_header_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    headers = {"Docker-Content-Digest": sha256(b"other")}
    fake.fault("/manifests/", _answer(200, _image().data, headers))
    assert isinstance(_fails(fake, in_account, account_dir), DigestMismatch)


def test_html_instead_of_a_manifest_is_recognized(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    page = _answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
    fake.fault("/manifests/", page)
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryProtocolError)
    assert "(text/html) is not a manifest" in error.message
    assert "log-in page" in error.remedy


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b'"text"', b"[" * 100_000, b"\xff\xfe", b'{"manifests":[],"layers":[]}'],
    ids=["array", "null", "string", "deep", "not-utf8", "both"],
)
def test_json_that_is_no_manifest_is_refused(
    body: bytes, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/manifests/", _answer(200, body))
    assert isinstance(_fails(fake, in_account, account_dir), RegistryProtocolError)


def test_a_manifest_that_is_too_large_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/manifests/", _answer(200, b" " * (5 << 20)))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryProtocolError)
    assert "larger than" in error.message


def _endless(handler: FakeHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65536)
    except OSError:
        handler.close_connection = True


def test_an_endless_manifest_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/manifests/", _endless)
    assert "larger than" in _fails(fake, in_account, account_dir).message


def test_docker_schema_1_is_refused_with_the_way_out(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/manifests/", _answer(200, b'{"schemaVersion":1,"fsLayers":[]}'))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, InvalidDocument)
    assert "schema 1" in error.message


def test_a_manifest_with_wrong_types_names_the_place(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    def change(manifest: dict[str, object]) -> None:
        manifest["layers"] = [{"mediaType": "x", "digest": 7, "size": 1}]

    error = _fails(fake, in_account, account_dir, change_manifest(_image(), change))
    assert isinstance(error, InvalidDocument)
    assert "layers[0].digest" in error.message


# --- configurations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"config": []}, "config"),
        ({"config": {"Env": "A=1"}}, "config.Env"),
        ({"rootfs": {"type": "layers", "diff_ids": [1]}}, "rootfs.diff_ids[0]"),
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "diff_ids"),
        ({"history": [7]}, "history[0]"),
    ],
    ids=["config", "env", "diff-id", "too-few-diff-ids", "history"],
)
def test_a_configuration_with_wrong_types_names_the_place(
    config: dict[str, object],
    place: str,
    fake: FakeRegistry,
    in_account: InAccount,
    account_dir: str,
) -> None:
    name = fake.add(_NAME, make_image([_LAYER], config=config))
    error = in_account(lambda: pull(account_dir, name)).error
    assert isinstance(error, InvalidDocument)
    assert place in error.message
    assert left_over(account_dir) == []
    assert fake.asked(sha256(_LAYER)) == []


def test_a_configuration_that_is_too_large_is_not_fetched(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()

    def change(manifest: dict[str, object]) -> None:
        assert isinstance(manifest["config"], dict)
        manifest["config"]["size"] = 5 << 20

    error = _fails(fake, in_account, account_dir, change_manifest(image, change))
    assert isinstance(error, InvalidDocument)
    assert "config.size" in error.message
    assert fake.asked("/blobs/") == []


# --- blobs ------------------------------------------------------------------------------------


def test_a_blob_of_another_digest_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    wrong = bytearray(image.blobs[image.layers[0]])
    wrong[-1] ^= 1
    fake.fault(image.layers[0], _answer(200, bytes(wrong)))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, DigestMismatch)
    assert image.layers[0] in error.message


def test_damage_in_the_middle_is_called_damage_on_the_way(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = make_image([_LAYER])
    wrong = bytearray(image.blobs[image.layers[0]])
    wrong[20:40] = bytes(20)
    fake.fault(image.layers[0], _answer(200, bytes(wrong)))
    name = fake.add(_NAME, image)
    assert isinstance(in_account(lambda: pull(account_dir, name)).error, DigestMismatch)
    assert left_over(account_dir) == []
    assert partials(account_dir) == {}


def test_an_announced_wrong_size_is_refused_before_a_byte_is_read(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    fake.fault(image.layers[0], _answer(200, _LAYER + b"more"))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, DigestMismatch)
    assert f"{len(_LAYER) + 4} bytes instead of {len(_LAYER)}" in error.message


def test_an_endless_blob_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    fake.fault(image.layers[0], _endless)
    # Too many bytes, or the wrong ones: as the last piece happens to end.
    assert isinstance(_fails(fake, in_account, account_dir), DigestMismatch)


def test_a_manifest_that_lies_about_a_size_is_found_out(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    def change(manifest: dict[str, object]) -> None:
        assert isinstance(manifest["layers"], list)
        manifest["layers"][0]["size"] += 1

    error = _fails(fake, in_account, account_dir, change_manifest(_image(), change))
    assert isinstance(error, DigestMismatch)


def test_a_blob_that_is_not_there_is_named(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    fake.fault(image.layers[0], _answer(404, b"{}"))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, ManifestUnknown)
    assert image.layers[0][:19] in error.message


def test_a_layer_that_is_not_what_its_diff_id_says_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    rootfs = {"type": "layers", "diff_ids": [sha256(b"something else")]}
    image = make_image([_LAYER], config={"rootfs": rootfs})
    error = _fails(fake, in_account, account_dir, image)
    assert isinstance(error, DigestMismatch)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(b"this is no archive" * 100, id="no-tar"),
        pytest.param(tar([File("../../escape", b"x")]), id="dot-dot"),
    ],
)
def test_a_hostile_layer_leaves_nothing(
    layer: bytes, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = fake.add(_NAME, make_image([layer]))
    outcomes: list[Outcome] = [in_account(lambda: pull(account_dir, name)) for _ in range(2)]
    for outcome in outcomes:
        assert isinstance(outcome.error, InvalidLayer)
        assert name in outcome.error.message
    assert left_over(account_dir) == []
    assert partials(account_dir) == {}


# --- connections ------------------------------------------------------------------------------


def test_an_unreachable_host_fails_at_once(in_account: InAccount, account_dir: str) -> None:
    host = f"127.0.0.1:{free_port()}"
    started_s = time.monotonic()
    options = QUICK._replace(retry_delay_s=20.0)
    error = in_account(lambda: pull(account_dir, f"{host}/x", options)).error
    assert isinstance(error, RegistryUnreachable)
    assert f"connect to {host}: Connection refused" in error.message
    assert time.monotonic() - started_s < 10
    assert left_over(account_dir) == []


def test_an_unknown_host_is_named(in_account: InAccount, account_dir: str) -> None:
    error = in_account(lambda: pull(account_dir, "registry.invalid/x")).error
    assert isinstance(error, RegistryUnreachable)
    assert "registry.invalid" in error.message
    assert "network" in error.remedy


def _silent(handler: FakeHandler) -> None:
    time.sleep(1.5)
    handler.close_connection = True


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_silent_registry_is_given_up(
    part: str, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault(part, _silent)
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryTimeout)


def _dripping(handler: FakeHandler) -> None:
    body = handler.body
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        for byte in body[:200]:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass
    handler.close_connection = True


@pytest.mark.parametrize("part", ["/manifests/", sha256(_LAYER)], ids=["manifest", "layer"])
def test_a_registry_that_sends_a_byte_now_and_then_is_given_up(
    part: str, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault(part, _dripping)
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryTimeout)
    assert "too slow" in error.message


def test_an_overloaded_registry_is_asked_again(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    name = fake.add(_NAME, _image())
    fake.fault("/manifests/", _answer(503, b"", {"Retry-After": "0"}), times=1)
    fake.fault(sha256(_LAYER), _answer(429, b""), times=2)
    outcome = in_account(lambda: pull(account_dir, name))
    assert outcome.image.names == (name,)
    assert len(outcome.texts("retry")) == 3


def test_a_registry_that_stays_overloaded_is_given_up(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    message = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow \x1b[2Jdown"}]})
    fake.fault("/manifests/", _answer(429, message.encode()))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryInterrupted)
    assert "slow [2Jdown (429)" in error.message
    assert "log in" in error.remedy
    assert len(fake.asked("/manifests/")) >= QUICK.retries + 1


def test_a_401_loop_ends(fake: FakeRegistry, in_account: InAccount, account_dir: str) -> None:
    realm = f'Bearer realm="http://{fake.host}/token",service="s"'
    fake.fault("/v2/", _answer(401, b"", {"WWW-Authenticate": realm}))
    fake.fault("/token", _answer(200, b'{"token":"t"}'))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryDenied)
    assert len(fake.asked("/token")) <= 2


def test_a_401_without_a_challenge_is_an_error(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/v2/", _answer(401, b""))
    name = fake.add(_NAME, _image())
    error = in_account(lambda: pull(account_dir, name)).error
    assert isinstance(error, RegistryProtocolError)
    assert "asks for nothing that is known" in error.message


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_redirect_loop_ends(
    part: str, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault(part, lambda handler: _redirect(handler.path)(handler))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryProtocolError)
    assert "more than 5 redirects" in error.message


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://192.0.2.1/x", "over plain HTTP"),
        ("file:///etc/passwd", "is not an http URL"),
        ("http://[", "redirect"),
    ],
    ids=["plain-http-elsewhere", "file", "broken"],
)
def test_a_redirect_to_where_nobody_should_go_is_refused(
    target: str, said: str, fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/blobs/", _redirect(target))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryError)
    assert said in error.message or "is not an http URL" in error.message


def test_a_status_that_nobody_expects_is_told(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    fake.fault("/manifests/", _answer(418, b"teapot"))
    error = _fails(fake, in_account, account_dir)
    assert isinstance(error, RegistryProtocolError)
    assert "status 418" in error.message


def test_something_else_than_http_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    def babble(handler: FakeHandler) -> None:
        handler.wfile.write(b"220 mail.example ESMTP\r\n")
        handler.hang_up()

    fake.fault("/manifests/", babble)
    assert isinstance(_fails(fake, in_account, account_dir), RegistryUnreachable)
