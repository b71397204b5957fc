"""The process of one connection: read requests, find who answers, turn failures into answers."""

import re
import socket
import sys
import time

from rootless.build.errors import BuildError
from rootless.errors import (
    CommandNotExecutable,
    CommandNotFound,
    ContainerStateError,
    RootlessError,
    UnknownUser,
    UsageError,
)
from rootless.service.exchange import API_VERSION, LEAST_API_VERSION, Exchange
from rootless.service.http import ClientGone, Connection, HttpError, Request, decode_path
from rootless.service.routes import ROUTES, absent
from slirp.errors import InvalidNetwork, InvalidPort, SlirpError
from storage.errors import (
    Ambiguous,
    ImageNotFound,
    InUse,
    InvalidArchive,
    InvalidReference,
    ManifestUnknown,
    NameTaken,
    NotFound,
    RegistryDenied,
    StorageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host
    from rootless.service.routes import Route

_IDLE_S = 10.0
_LINGER_S = 2.0
_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,3})(/.*)")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]", "")
# The status of an answer by the kind of failure; the first that fits.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (ManifestUnknown, 404),
    (NameTaken, 409),
    (InUse, 409),
    (ContainerStateError, 409),
    (RegistryDenied, 401),
    (Ambiguous, 400),
    (InvalidReference, 400),
    (InvalidArchive, 400),
    (UnknownUser, 400),
    (UsageError, 400),
    (BuildError, 400),
    (CommandNotFound, 400),
    (CommandNotExecutable, 400),
    (InvalidPort, 400),
    (InvalidNetwork, 400),
)


def serve_connection(client: socket.socket, open_host: "Callable[[], Host]") -> None:
    """Answer requests until the client closes the connection, or begins no other for a while."""
    connection = Connection(client)
    host: Host | None = None
    try:
        while connection.wait_for_request(_IDLE_S):
            try:
                request = connection.read_head()
                if client.family != socket.AF_UNIX:
                    _check_local(request)
                if host is None:
                    host = open_host()
                goes_on = _answer(host, connection, request)
            except HttpError as error:
                _refuse(connection, error)
                return
            except (RootlessError, StorageError) as error:
                # The store cannot be opened: the client is to know why.
                _refuse(connection, HttpError(500, describe(error)))
                return
            if not goes_on:
                return
    except ClientGone:
        return
    finally:
        _linger(client)


def _linger(client: socket.socket) -> None:
    """Read for a moment what the client still sends.

    A socket that is closed with something unread takes the answer away from the client again.
    """
    last_s = time.monotonic() + _LINGER_S
    try:
        client.shutdown(socket.SHUT_WR)
        while (left_s := last_s - time.monotonic()) > 0:
            client.settimeout(left_s)
            if not client.recv(1 << 16):
                return
    except OSError:
        return  # it has gone, or goes on for too long


def _check_local(request: Request) -> None:
    """Refuse what a web page makes a browser send: another host's name, or an origin."""
    name = request.headers.get("host", "")
    name = name if name.endswith("]") else name.rpartition(":")[0] or name
    if name.lower() not in _LOCAL_NAMES or "origin" in request.headers:
        raise HttpError(403, "requests of web pages are refused", closes=True)


def _refuse(connection: Connection, error: HttpError) -> None:
    request = Request("GET", "/", {"connection": "close"}, is_http10=False)
    exchange = Exchange.__new__(Exchange)
    exchange.connection, exchange.request = connection, request
    exchange.is_answered, exchange.is_over = False, True
    exchange.send({"message": error.message}, error.status)


def _answer(host: "Host", connection: Connection, request: Request) -> bool:
    """Answer one request; whether another may follow."""
    version, path = split_version(request.path)
    names: dict[str, str] = {}
    exchange = Exchange(host, connection, request, names, version)
    try:
        _check_version(version)
        route, found = find_route(request.method, path)
        names.update(found)
        _handler(route)(exchange)
        if not exchange.is_answered:
            exchange.done(200)
    except ClientGone:
        raise
    except Exception as error:  # noqa: BLE001 - the top of this process: a failure is an answer
        if exchange.is_answered:
            _report(request, error)
            return False
        status, message, closes = failure(error)
        exchange.is_over = closes or exchange.is_over
        if status == 500:
            _report(request, error)
        exchange.send({"message": message}, status)
    _print_notes(host)
    return not exchange.is_over and exchange.body.drain()


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """Return the version that a path names, the newest when it names none, and the rest."""
    match = _VERSION.fullmatch(path)
    if match is None:
        return _numbers(API_VERSION), path
    return (int(match[1]), int(match[2])), match[3]


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _check_version(version: tuple[int, int]) -> None:
    text = f"{version[0]}.{version[1]}"
    if version < _numbers(LEAST_API_VERSION):
        raise HttpError(
            400,
            f"client version {text} is too old. Minimum supported API version is"
            f" {LEAST_API_VERSION}, please upgrade your client to a newer version",
        )
    if version > _numbers(API_VERSION):
        raise HttpError(
            400,
            f"client version {text} is too new. Maximum supported API version is {API_VERSION}",
        )


def find_route(method: str, path: str) -> "tuple[Route, dict[str, str]]":
    """Return who answers, and what the path names. Raises HttpError."""
    others = False
    for route in ROUTES:
        match = route.pattern.fullmatch(path)
        if match is None:
            continue
        if method not in route.methods:
            others = True
            continue
        return route, {key: decode_path(text) for key, text in match.groupdict().items()}
    if reason := absent(path):
        raise reason
    if others:
        raise HttpError(405, f"{method} {path}: this path does not have this method")
    raise HttpError(404, "page not found")


def _handler(route: "Route") -> "Callable[[Exchange], None]":
    import importlib

    module = importlib.import_module(f"rootless.service.{route.module}")
    function: Callable[[Exchange], None] = getattr(module, route.function)
    return function


def _words_for_clients(error: BaseException) -> str:
    """Return what docker's clients look for: the exit codes 126 and 127 of `docker run`."""
    if isinstance(error, CommandNotFound):
        return ": executable file not found in $PATH"
    return ": permission denied" if isinstance(error, CommandNotExecutable) else ""


def failure(error: BaseException) -> tuple[int, str, bool]:
    """Return the status of the answer, its words, and whether the connection ends."""
    if isinstance(error, HttpError):
        return error.status, error.message, error.closes
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            # docker's client libraries look for these words.
            words = "No such image: " if isinstance(error, ImageNotFound) else ""
            return status, words + describe(error) + _words_for_clients(error), False
    if isinstance(error, RootlessError | StorageError | SlirpError):
        return 500, describe(error), False
    return 500, f"{type(error).__name__}: {error}", False


def describe(error: BaseException) -> str:
    """Return what failed and what to do about it, in one line."""
    message = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    remedy = getattr(error, "remedy", "")
    return f"{message} ({remedy})" if remedy else message


def _report(request: Request, error: BaseException) -> None:
    sys.stderr.write(f"{request.method} {request.path}: {describe(error)}\n")
    if not isinstance(error, RootlessError | StorageError | SlirpError | HttpError):
        import os
        import traceback

        if os.environ.get("RPOD_DEBUG"):
            traceback.print_exception(error)
    sys.stderr.flush()


def _print_notes(host: "Host") -> None:
    """What the host could not give is for whoever reads the service's log."""
    for text in host.notes:
        sys.stderr.write(f"Note: {text}\n")
    host.notes.clear()
    sys.stderr.flush()
