import base64
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from storage.errors import RegistryDenied, RegistryProtocolError
from storage.registry.auth import Authenticator
from storage.registry.challenge import Challenge
from storage.registry.options import Credentials
from storage.registry.transport import Response
from tests.unit.storage.registry.answers import ScriptedTransport, answer

_SCOPE = "repository:team/app:pull"
_BEARER = Challenge("bearer", {"realm": "https://auth.example/token", "service": "reg"})
_BASIC = Challenge("basic", {"realm": "r"})
_ALICE = Credentials("alice", "sesame")
_ALICE_HEADER = f"Basic {base64.b64encode(b'alice:sesame').decode()}"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _auth(
    *answers: urllib3.HTTPResponse,
    credentials: Credentials | None = None,
    clock: Clock | None = None,
) -> tuple[Authenticator, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    found = Authenticator("reg.example", transport, lambda: credentials, clock=clock or Clock())
    return found, transport


def test_nothing_is_sent_before_it_is_asked_for() -> None:
    auth, transport = _auth(credentials=_ALICE)
    assert auth.header(_SCOPE) is None
    assert transport.sent == []


def test_an_anonymous_token_is_fetched_for_service_and_scope() -> None:
    auth, transport = _auth(answer(200, {"token": "t1"}))
    assert auth.answer((_BEARER,), _SCOPE, refused=None) == "Bearer t1"
    (sent,) = transport.sent
    assert parse_qs(urlsplit(sent.url).query) == {"service": ["reg"], "scope": [_SCOPE]}
    assert sent.authorization is None


def test_the_scopes_of_the_challenge_and_ours_are_sent_each_once() -> None:
    challenge = Challenge(
        "bearer", {"realm": "https://a.example/t?x=1", "scope": f"{_SCOPE} repository:b:pull"}
    )
    auth, transport = _auth(answer(200, {"access_token": "t1"}))
    assert auth.answer((challenge,), _SCOPE, refused=None) == "Bearer t1"
    assert parse_qs(urlsplit(transport.sent[0].url).query) == {
        "x": ["1"],
        "scope": [_SCOPE, "repository:b:pull"],
    }


def test_a_password_goes_to_the_token_server() -> None:
    auth, transport = _auth(answer(200, {"token": "t1"}), credentials=_ALICE)
    auth.answer((_BEARER,), _SCOPE, refused=None)
    assert transport.sent[0].authorization == _ALICE_HEADER
    assert parse_qs(urlsplit(transport.sent[0].url).query)["account"] == ["alice"]


def test_an_identity_token_is_posted() -> None:
    auth, transport = _auth(
        answer(200, {"access_token": "t1"}), credentials=Credentials("", "", "refresh")
    )
    assert auth.answer((_BEARER,), _SCOPE, refused=None) == "Bearer t1"
    (sent,) = transport.sent
    assert (sent.method, sent.url) == ("POST", "https://auth.example/token")
    assert sent.body is not None
    form = parse_qs(sent.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["refresh"]
    assert form["scope"] == [_SCOPE]


def test_a_token_is_used_until_it_expires() -> None:
    clock = Clock()
    auth, transport = _auth(
        answer(200, {"token": "t1", "expires_in": 300}), answer(200, {"token": "t2"}), clock=clock
    )
    auth.answer((_BEARER,), _SCOPE, refused=None)
    clock.now_s += 200
    assert auth.header(_SCOPE) == "Bearer t1"
    clock.now_s += 100
    assert auth.header(_SCOPE) == "Bearer t2"
    assert len(transport.sent) == 2


def test_a_token_without_a_life_lives_for_a_minute() -> None:
    clock = Clock()
    auth, _ = _auth(answer(200, {"token": "t1"}), answer(200, {"token": "t2"}), clock=clock)
    auth.answer((_BEARER,), _SCOPE, refused=None)
    clock.now_s += 50
    assert auth.header(_SCOPE) == "Bearer t1"
    clock.now_s += 10
    assert auth.header(_SCOPE) == "Bearer t2"


def test_threads_that_are_refused_at_once_ask_once() -> None:
    auth, transport = _auth(answer(200, {"token": "t1"}))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(auth.answer((_BEARER,), _SCOPE, refused=None)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["Bearer t1"] * 6
    assert len(transport.sent) == 1


def test_a_refused_token_is_replaced() -> None:
    auth, _ = _auth(answer(200, {"token": "t1"}), answer(200, {"token": "t2"}))
    first = auth.answer((_BEARER,), _SCOPE, refused=None)
    assert auth.answer((_BEARER,), _SCOPE, refused=first) == "Bearer t2"


def test_basic_uses_the_password() -> None:
    auth, transport = _auth(credentials=_ALICE)
    assert auth.answer((_BASIC,), _SCOPE, refused=None) == _ALICE_HEADER
    assert transport.sent == []


def test_bearer_is_preferred_to_basic() -> None:
    auth, _ = _auth(answer(200, {"token": "t1"}), credentials=_ALICE)
    assert auth.answer((_BASIC, _BEARER), _SCOPE, refused=None) == "Bearer t1"


def test_basic_without_credentials_says_how_to_log_in() -> None:
    auth, _ = _auth()
    with pytest.raises(RegistryDenied, match="asks for user and password") as caught:
        auth.answer((_BASIC,), _SCOPE, refused=None)
    assert "--creds" in caught.value.remedy


def test_refused_basic_credentials_are_not_tried_again() -> None:
    auth, _ = _auth(credentials=_ALICE)
    header = auth.answer((_BASIC,), _SCOPE, refused=None)
    with pytest.raises(RegistryDenied, match="does not accept"):
        auth.answer((_BASIC,), _SCOPE, refused=header)


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [
        (401, {"details": "incorrect username or password"}, "incorrect username or password"),
        (403, {"errors": [{"code": "DENIED", "message": "no\x1b[31m way"}]}, r"no \[31m way"),
        (400, {"error": "invalid_grant"}, "invalid_grant"),
        (401, b"<html>", "status 401"),
    ],
    ids=["docker", "errors", "oauth2", "html"],
)
def test_a_refusal_of_the_token_server_is_told(status: int, document: object, said: str) -> None:
    auth, _ = _auth(answer(status, document), credentials=_ALICE)
    with pytest.raises(RegistryDenied, match=said):
        auth.answer((_BEARER,), _SCOPE, refused=None)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b"<html>log in</html>", id="html"),
        pytest.param([], id="array"),
        pytest.param({}, id="empty"),
        pytest.param({"token": 7}, id="number"),
        pytest.param({"token": "a\r\nX-Evil: 1"}, id="header-injection"),
        pytest.param({"token": "t" * 70_000}, id="too-long"),
        pytest.param(b"x" * ((1 << 20) + 1), id="too-large"),
    ],
)
def test_an_answer_that_is_no_token_is_refused(document: object) -> None:
    auth, _ = _auth(answer(200, document))
    with pytest.raises(RegistryProtocolError):
        auth.answer((_BEARER,), _SCOPE, refused=None)


def test_an_unknown_scheme_is_named() -> None:
    auth, _ = _auth()
    with pytest.raises(RegistryProtocolError, match="asks for negotiate"):
        auth.answer((Challenge("negotiate", {}),), _SCOPE, refused=None)


def test_a_challenge_without_realm_is_refused() -> None:
    auth, _ = _auth()
    with pytest.raises(RegistryProtocolError, match="no realm"):
        auth.answer((Challenge("bearer", {}),), _SCOPE, refused=None)


def test_a_body_is_read_up_to_its_limit() -> None:
    response = Response(answer(200, b"12345"), "https://x/", "read")
    assert response.read_all(5, 1.0) == b"12345"
    response = Response(answer(200, b"123456"), "https://x/", "read")
    with pytest.raises(RegistryProtocolError, match="larger than 5 bytes"):
        response.read_all(5, 1.0)
