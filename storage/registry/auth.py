"""Proving who we are to a registry: basic, and bearer tokens of a token server.

Distribution specification, "Token Authentication" and "OAuth2 Token Authentication". Nothing is
sent before the registry asks for it; one refusal of what we have is final.
"""

import base64
import json
import threading
import time
from urllib.parse import urlencode

from storage.errors import InvalidDocument, RegistryDenied, RegistryProtocolError
from storage.oci.checks import as_object, get_text
from storage.record import NamedTuple
from storage.registry.challenge import Challenge
from storage.registry.options import Credentials
from storage.registry.transport import Response, Transport, clean_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN_LIMIT_BYTES = 64 << 10
_ANSWER_LIMIT_BYTES = 1 << 20
_DEFAULT_LIFE_S = 60.0
_LONGEST_LIFE_S = 24 * 3600.0
_CLIENT_ID = "rpod"
_DENIED = (400, 401, 403)


class _Token(NamedTuple):
    header: str
    expires_s: float


class Authenticator:
    """Answers the challenges of one registry; six threads that are refused at once ask once."""

    __slots__ = (
        "_challenge",
        "_clock",
        "_credentials",
        "_find",
        "_lock",
        "_looked_up",
        "_timeout_s",
        "_tokens",
        "_transport",
        "registry",
    )

    def __init__(
        self,
        registry: str,
        transport: Transport,
        find: "Callable[[], Credentials | None]",
        *,
        timeout_s: float = 60.0,
        clock: "Callable[[], float]" = time.monotonic,
    ) -> None:
        """`find` is asked for credentials at the first challenge."""
        self.registry = registry
        self._transport = transport
        self._find = find
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._challenge: Challenge | None = None
        self._credentials: Credentials | None = None
        self._looked_up = False

    def header(self, scope: str) -> str | None:
        """Return the Authorization field for a request, None while nothing was asked for.

        Raises RegistryDenied, RegistryProtocolError, RegistryUnreachable: an expired token is
        renewed here.
        """
        with self._lock:
            token = self._tokens.get(scope)
            if token is not None and self._clock() < token.expires_s:
                return token.header
            if self._challenge is None:
                return None
            return self._renew(self._challenge, scope)

    def answer(self, challenges: tuple[Challenge, ...], scope: str, *, refused: str | None) -> str:
        """Return the Authorization field that answers a 401; `refused` is what was sent before it.

        Raises RegistryDenied, RegistryProtocolError, RegistryUnreachable.
        """
        with self._lock:
            token = self._tokens.get(scope)
            if token is not None and token.header != refused:
                return token.header
            challenge = self._choose(challenges)
            if refused is not None and challenge.scheme == "basic":
                raise self.denied("the registry does not accept the credentials")
            self._tokens.pop(scope, None)
            self._challenge = challenge
            return self._renew(challenge, scope)

    def denied(self, why: str) -> RegistryDenied:
        """Make the error for a refusal."""
        if self._credentials is not None:
            remedy = (
                f"check user and password: rpod login {self.registry}, --creds USER:PASSWORD;"
                " the repository may also not exist"
            )
        else:
            remedy = (
                "check the spelling: the repository may not exist; when it is private:"
                f" rpod login {self.registry}, --creds USER:PASSWORD or --authfile FILE"
            )
        return RegistryDenied(f"access to {self.registry} denied: {why}", remedy=remedy)

    def _choose(self, challenges: tuple[Challenge, ...]) -> Challenge:
        for scheme in ("bearer", "basic"):
            for challenge in challenges:
                if challenge.scheme == scheme:
                    return challenge
        offered = ", ".join(clean_text(challenge.scheme, 30) for challenge in challenges[:5])
        raise RegistryProtocolError(
            f"log in to {self.registry}: it asks for {offered or 'nothing that is known'};"
            " basic and bearer are supported"
        )

    def _renew(self, challenge: Challenge, scope: str) -> str:
        if not self._looked_up:
            self._credentials = self._find()
            self._looked_up = True
        if challenge.scheme == "basic":
            if self._credentials is None or not self._credentials.user:
                raise self.denied("it asks for user and password")
            token = _Token(_basic(self._credentials), self._clock() + _LONGEST_LIFE_S)
        else:
            token = self._fetch_token(challenge, scope)
        self._tokens[scope] = token
        return token.header

    def _fetch_token(self, challenge: Challenge, scope: str) -> _Token:
        doing = f"get a token for {self.registry}"
        realm = challenge.parameters.get("realm", "")
        if not realm:
            raise RegistryProtocolError(f"{doing}: the registry does not say where (no realm)")
        scopes = list(dict.fromkeys(f"{challenge.parameters.get('scope', '')} {scope}".split()))
        asked_s = self._clock()
        with self._ask(doing, realm, challenge.parameters.get("service", ""), scopes) as response:
            data = response.read_all(_ANSWER_LIMIT_BYTES, self._timeout_s)
            if response.status in _DENIED:
                raise self.denied(f"the token server says: {_reason(data, response.status)}")
            if response.status != 200:
                raise RegistryProtocolError(
                    f"{doing}: {clean_text(realm, 100)} answers with status {response.status}"
                )
        return _read_token(data, f"{doing}: answer of {clean_text(realm, 100)}", asked_s)

    def _ask(self, doing: str, realm: str, service: str, scopes: list[str]) -> Response:
        credentials = self._credentials
        if credentials is not None and credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT_ID,
                "scope": " ".join(scopes),
                "refresh_token": credentials.identity_token,
            }
            return self._transport.request(
                "POST",
                realm,
                doing=doing,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
            )
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        if credentials is not None:
            query.append(("account", credentials.user))
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}" if query else realm
        return self._transport.request(
            "GET",
            url,
            doing=doing,
            authorization=_basic(credentials) if credentials is not None else None,
        )


def _basic(credentials: Credentials) -> str:
    text = f"{credentials.user}:{credentials.password}"
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def _reason(data: bytes, status: int) -> str:
    """Return what an error document says, in one line."""
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError):
        raw = None
    if isinstance(raw, dict):
        for key in ("details", "message", "error_description", "error"):
            if isinstance(raw.get(key), str):
                return clean_text(str(raw[key]))
        errors = raw.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            return clean_text(str(errors[0].get("message") or errors[0].get("code")))
    return f"status {status}"


def _read_token(data: bytes, where: str, asked_s: float) -> _Token:
    try:
        fields = as_object(json.loads(data), where)
        text = get_text(fields, "token", where) or get_text(fields, "access_token", where)
    except InvalidDocument as error:
        raise RegistryProtocolError(error.message) from error
    except (ValueError, RecursionError) as error:
        raise RegistryProtocolError(
            f"{where}: not JSON",
            remedy="a proxy or a log-in page of the network may have answered instead",
        ) from error
    if not text or len(text) > _TOKEN_LIMIT_BYTES or not (text.isascii() and text.isprintable()):
        raise RegistryProtocolError(f"{where}: there is no usable token in it")
    life_s = fields.get("expires_in")
    if not isinstance(life_s, (int, float)) or isinstance(life_s, bool) or life_s <= 0:
        life_s = _DEFAULT_LIFE_S
    # A tenth early: the request takes its time, and two clocks differ.
    return _Token(f"Bearer {text}", asked_s + min(life_s, _LONGEST_LIFE_S) * 0.9)
