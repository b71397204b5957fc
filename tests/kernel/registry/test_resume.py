"""Transfers that break off, pulls that are killed, pulls that meet."""

import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time
from functools import partial

import pytest

from storage.errors import RegistryInterrupted, RegistryProtocolError
from storage.registry.options import Credentials
from tests.conftest import InAccount
from tests.kernel.registry.pulling import (
    QUICK,
    Outcome,
    files_of,
    layout_of,
    left_over,
    partials,
    pull,
)
from tests.registries import (
    PASSWORD,
    USER,
    DockerRegistry,
    FakeHandler,
    FakeRegistry,
    basic,
    fake_registry,
)
from tests.support.images import File, tar
from tests.support.oci import Image, make_image

_CONTENT = random.Random(7).randbytes(3 << 20)
_LAYER = tar([File("random", _CONTENT)])
_NAME = "team/app"


def _image() -> Image:
    return make_image([_LAYER], compression="none")


def _ranges(fake: FakeRegistry, image: Image) -> list[str]:
    return [request.range for request in fake.asked(image.layers[0])]


def _is_right(store: str, outcome: Outcome) -> bool:
    return dict(files_of(store, outcome.image)) == {"random": _CONTENT}


def test_a_body_that_breaks_off_is_gone_on_with(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    fake.fault(image.layers[0], lambda handler: handler.break_off(1_000_000), times=2)
    assert in_account(lambda: _is_right(account_dir, pull(account_dir, name)))
    assert _ranges(fake, image) == ["", "bytes=1000000-", "bytes=2000000-"]


def test_what_arrived_before_a_failure_is_used_by_the_next_pull(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    fake.fault(image.layers[0], lambda handler: handler.break_off(500_000), times=1)
    fake.fault(image.layers[0], lambda handler: handler.send(503, b""))
    outcome = in_account(lambda: pull(account_dir, name))
    assert isinstance(outcome.error, RegistryInterrupted)
    assert left_over(account_dir) == []
    assert list(partials(account_dir).values()) == [500_000]
    fake.heal()
    fake.requests.clear()
    assert in_account(lambda: _is_right(account_dir, pull(account_dir, name)))
    assert _ranges(fake, image) == ["bytes=500000-"]
    assert partials(account_dir) == {}


def test_a_registry_without_range_sends_all_and_the_known_part_is_skipped(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    fake.fault(image.layers[0], lambda handler: handler.break_off(1_500_000), times=1)
    fake.fault(image.layers[0], lambda handler: handler.send(200, handler.body), times=1)
    assert in_account(lambda: _is_right(account_dir, pull(account_dir, name)))
    assert _ranges(fake, image) == ["", "bytes=1500000-"]


def test_a_wrong_range_is_refused(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)

    def answer(handler: FakeHandler) -> None:
        handler.send(206, b"x", {"Content-Range": "bytes 7-7/8"})

    fake.fault(image.layers[0], lambda handler: handler.break_off(1000), times=1)
    fake.fault(image.layers[0], answer)
    error = in_account(lambda: pull(account_dir, name)).error
    assert isinstance(error, RegistryProtocolError)
    assert "bytes 7-7/8" in error.message


def _write_partial(store: str, image: Image, data: bytes) -> None:
    path = layout_of(store).partial(image.layers[0])
    with open(path, "wb") as out:
        out.write(data)


def test_a_damaged_partial_blob_is_fetched_anew(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)

    def body() -> tuple[bool, list[str]]:
        pull(account_dir, f"{fake.host}/none")  # makes the store
        _write_partial(account_dir, image, bytes(1_000_000))
        outcome = pull(account_dir, name)
        return _is_right(account_dir, outcome), outcome.texts("note")

    right, notes = in_account(body)
    assert right
    assert notes == ["what had arrived before is wrong: fetched anew"]
    assert _ranges(fake, image) == ["bytes=1000000-", ""]


def test_a_partial_blob_that_is_too_long_is_thrown_away(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)

    def body() -> bool:
        pull(account_dir, f"{fake.host}/none")
        _write_partial(account_dir, image, _LAYER + b"more")
        return _is_right(account_dir, pull(account_dir, name))

    assert in_account(body)
    assert _ranges(fake, image) == [""]


def test_a_partial_blob_that_is_whole_needs_no_request(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)

    def body() -> bool:
        pull(account_dir, f"{fake.host}/none")
        _write_partial(account_dir, image, _LAYER)
        return _is_right(account_dir, pull(account_dir, name))

    assert in_account(body)
    assert _ranges(fake, image) == []


def _slowly(handler: FakeHandler) -> None:
    """Send a third of the body at once, the rest never."""
    body = handler.body
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        handler.wfile.write(body[: len(body) // 3])
        handler.wfile.flush()
        time.sleep(20)
    except OSError:
        pass
    handler.close_connection = True


def _killed_pull(store: str, name: str, image: Image, wanted: int = len(_LAYER) // 3) -> int:
    """Start a pull, kill all of it when a part of the layer is there; return the bytes there."""
    options = QUICK._replace(read_timeout_s=30.0)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        try:
            pull(store, name, options)
        finally:
            os._exit(0)
    path = layout_of(store).partial(image.layers[0])
    deadline_s = time.monotonic() + 20
    while not os.path.exists(path) or os.stat(path).st_size < wanted:
        assert time.monotonic() < deadline_s, "the layer did not begin to arrive"
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return os.stat(path).st_size


def test_a_killed_pull_is_gone_on_with_by_the_next(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    fake.fault(image.layers[0], _slowly, times=1)
    arrived = in_account(lambda: _killed_pull(account_dir, name, image))
    assert in_account(lambda: _is_right(account_dir, pull(account_dir, name)))
    assert _ranges(fake, image) == ["", f"bytes={arrived}-"]
    assert partials(account_dir) == {}
    assert os.listdir(layout_of(account_dir).tmp_dir) == []


_CUTS = (1, 510, 1, 512, 4095, 65_536, 1, 131_073, 200_000, 262_144, 777_777, 1_000_000)


def test_a_network_that_breaks_anywhere_costs_no_byte_twice(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    for cut in _CUTS:
        fake.fault(image.layers[0], partial(FakeHandler.break_off, after_bytes=cut), times=1)
    options = QUICK._replace(retries=len(_CUTS))
    assert in_account(lambda: _is_right(account_dir, pull(account_dir, name, options)))
    begun = [0, *itertools.accumulate(_CUTS)]
    assert _ranges(fake, image) == [f"bytes={start}-" if start else "" for start in begun]


def _part(handler: FakeHandler, count: int) -> None:
    """Send so many of the bytes that are asked for at once, the rest never."""
    start = int(handler.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
    body = handler.body
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(body) - start))
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body[start : start + count])
        handler.wfile.flush()
        time.sleep(20)
    handler.close_connection = True


def test_pulls_that_are_killed_one_after_the_other_fetch_no_byte_twice(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    step = 400_000
    arrived = [0]
    for _ in range(6):
        fake.fault(image.layers[0], partial(_part, count=step), times=1)
        # Whatever has been read of the socket is on the disk; at most a chunk is not read yet.
        least = arrived[-1] + step * 3 // 4
        arrived.append(in_account(partial(_killed_pull, account_dir, name, image, least)))
    assert in_account(lambda: _is_right(account_dir, pull(account_dir, name)))
    assert _ranges(fake, image) == [f"bytes={start}-" if start else "" for start in arrived]
    assert arrived == sorted(set(arrived))
    assert partials(account_dir) == {}


def test_a_killed_client_takes_its_pull_with_it(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    fake.fault(image.layers[0], _slowly, times=1)

    def body() -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                pull(account_dir, name, QUICK._replace(read_timeout_s=30.0))
            finally:
                os._exit(0)
        path = layout_of(account_dir).partial(image.layers[0])
        while not os.path.exists(path):
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        started_s = time.monotonic()
        outcome = pull(account_dir, name)
        return _is_right(account_dir, outcome) and time.monotonic() - started_s < 10

    assert in_account(body)


def test_two_pulls_at_once_fetch_each_blob_once(
    plain_registry: DockerRegistry, in_account: InAccount, account_dir: str
) -> None:
    layers = [tar([File(f"file{n}", random.Random(n).randbytes(1 << 20))]) for n in range(4)]
    image = make_image(layers)
    name = plain_registry.push("twice/at-once", image)
    before = len(plain_registry.requests())

    def body() -> list[int]:
        pids = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                outcome = pull(account_dir, name)
                os._exit(0 if outcome.record else 1)
            pids.append(pid)
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

    assert in_account(body) == [0, 0, 0]
    paths = [path for _, path, _ in plain_registry.requests(before) if "/blobs/" in path]
    expected = [f"/v2/twice/at-once/blobs/{digest}" for digest in (image.config, *image.layers)]
    assert sorted(paths) == sorted(expected)
    assert os.listdir(layout_of(account_dir).tmp_dir) == []


def test_one_pull_waits_for_another_and_says_so(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    release = threading.Event()

    def answer(handler: FakeHandler) -> None:
        release.wait(10)
        handler.serve()

    fake.fault(image.layers[0], answer, times=1)

    def body() -> Outcome:
        options = QUICK._replace(read_timeout_s=20.0)
        pid = os.fork()
        if pid == 0:
            outcome = pull(account_dir, name, options)
            os._exit(0 if outcome.record else 1)
        time.sleep(0.5)
        outcome = pull(account_dir, name, options)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return outcome

    timer = threading.Timer(1.5, release.set)
    timer.start()
    outcome = in_account(body)
    timer.join()
    assert outcome.texts("note") == ["waiting for another command that fetches this"]
    assert len(_ranges(fake, image)) == 1


def test_credentials_stay_with_their_host(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    with fake_registry() as elsewhere:
        elsewhere.add(_NAME, image)

        def answer(handler: FakeHandler) -> None:
            if handler.headers.get("Authorization") != basic(USER, PASSWORD):
                handler.send(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
            elif "/blobs/" in handler.path:
                target = f"http://{elsewhere.host}{handler.path}"
                handler.send(307, b"", {"Location": target})
            else:
                handler.serve()

        fake.fault("/v2/", answer)
        options = QUICK._replace(credentials=Credentials(USER, PASSWORD))
        assert in_account(lambda: pull(account_dir, name, options)).image.names == (name,)
        asked = elsewhere.asked("/blobs/")
    assert len(asked) == 2
    assert all("Authorization" not in request.headers for request in asked)
    assert all("Authorization" in request.headers for request in fake.asked("/blobs/"))


def test_credentials_do_not_follow_a_token_server_to_another_host(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    name = fake.add(_NAME, image)
    with fake_registry() as elsewhere:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token",service="s"'}

        def answer(handler: FakeHandler) -> None:
            if handler.headers.get("Authorization") == "Bearer t":
                handler.serve()
            else:
                handler.send(401, b"", challenge)

        target = f"http://{elsewhere.host}/stolen"
        fake.fault("/v2/", answer)
        fake.fault("/token", lambda handler: handler.send(307, b"", {"Location": target}))
        elsewhere.fault("/stolen", lambda handler: handler.send(200, b'{"token":"t"}'))
        options = QUICK._replace(credentials=Credentials(USER, PASSWORD))
        assert in_account(lambda: pull(account_dir, name, options)).image.names == (name,)
        sent = [request.headers.get("Authorization") for request in fake.asked("/token")]
        came = elsewhere.requests
    assert set(sent) == {basic(USER, PASSWORD)}
    assert came
    assert all("Authorization" not in request.headers for request in came)


def test_credentials_do_not_go_to_a_token_server_over_plain_http(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    """The realm is the registry's word: a password for it must not be read on the way."""
    name = fake.add(_NAME, _image())
    realm = 'Bearer realm="http://192.0.2.1/token",service="s"'
    fake.fault("/v2/", lambda handler: handler.send(401, b"", {"WWW-Authenticate": realm}))
    options = QUICK._replace(credentials=Credentials(USER, PASSWORD))
    outcome = in_account(lambda: pull(account_dir, name, options))
    assert isinstance(outcome.error, RegistryProtocolError)
    assert "get a token" in outcome.error.message
    assert "192.0.2.1 over plain HTTP" in outcome.error.message


@pytest.mark.parametrize("kind", ["password", "identity-token", "anonymous"])
def test_a_registry_with_tls_names_no_token_server_without(
    kind: str, in_account: InAccount, account_dir: str, certificates: str
) -> None:
    """Loopback is where another user's program may listen."""
    known = {
        "password": Credentials(USER, PASSWORD),
        "identity-token": Credentials("", "", "secret"),
        "anonymous": None,
    }
    with fake_registry() as elsewhere, fake_registry(certificates=certificates) as registry:
        elsewhere.fault("/token", lambda handler: handler.send(200, b'{"token":"t"}'))
        name = registry.add(_NAME, _image())
        realm = f'Bearer realm="http://{elsewhere.host}/token",service="s"'
        registry.fault("/v2/", lambda handler: handler.send(401, b"", {"WWW-Authenticate": realm}))
        options = QUICK._replace(credentials=known[kind], ca_dir=certificates)
        outcome = in_account(lambda: pull(account_dir, name, options))
        assert isinstance(outcome.error, RegistryProtocolError)
        assert "over plain HTTP" in outcome.error.message
        assert "get a token" in outcome.error.message
        assert registry.requests
        assert elsewhere.requests == []


def test_a_token_server_is_trusted_by_the_registrys_authorities(
    in_account: InAccount, account_dir: str, certificates: str
) -> None:
    with (
        fake_registry(certificates=certificates) as tokens,
        fake_registry(certificates=certificates) as registry,
    ):
        tokens.fault("/token", lambda handler: handler.send(200, b'{"token":"t"}'))
        name = registry.add(_NAME, _image())
        realm = f'Bearer realm="https://{tokens.host}/token",service="s"'

        def answer(handler: FakeHandler) -> None:
            if handler.headers.get("Authorization") == "Bearer t":
                handler.serve()
            else:
                handler.send(401, b"", {"WWW-Authenticate": realm})

        registry.fault("/v2/", answer)
        options = QUICK._replace(credentials=Credentials(USER, PASSWORD), ca_dir=certificates)
        assert _is_right(account_dir, in_account(lambda: pull(account_dir, name, options)))
        assert {request.headers["Authorization"] for request in tokens.requests} == {
            basic(USER, PASSWORD)
        }


def test_a_layers_own_urls_are_asked_for_nothing(
    fake: FakeRegistry, in_account: InAccount, account_dir: str
) -> None:
    image = _image()
    with fake_registry() as elsewhere:
        document = json.loads(image.data)
        for layer in document["layers"]:
            layer["urls"] = [f"http://{elsewhere.host}/v2/{_NAME}/blobs/{layer['digest']}"]
        name = fake.add(_NAME, image._replace(data=json.dumps(document).encode()))
        options = QUICK._replace(credentials=Credentials(USER, PASSWORD))
        assert _is_right(account_dir, in_account(lambda: pull(account_dir, name, options)))
        assert elsewhere.requests == []
