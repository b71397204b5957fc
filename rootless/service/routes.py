"""Paths of the Docker Engine API, and who answers them; what is not there, with the reason."""

import re

from rootless.service.http import HttpError
from storage.record import NamedTuple


class Route(NamedTuple):
    """Methods of a path, and a function of a module of this package."""

    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    module: str
    function: str


def _route(methods: str, path: str, handler: str) -> Route:
    """`{name}` is one part of a path, `{name*}` any number of them: images have several."""
    pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+?)", path)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    module, _, function = handler.partition(":")
    return Route(tuple(methods.split()), re.compile(pattern), module, function)


ROUTES = (
    _route("GET HEAD", "/_ping", "system:ping"),
    _route("GET", "/version", "system:version"),
    _route("GET", "/info", "system:info"),
    _route("GET", "/containers/json", "containers:list_"),
    _route("POST", "/containers/create", "creating:create"),
    _route("GET", "/containers/{id}/json", "containers:inspect"),
    _route("POST", "/containers/{id}/start", "lifecycle:start"),
    _route("POST", "/containers/{id}/stop", "lifecycle:stop"),
    _route("POST", "/containers/{id}/restart", "lifecycle:restart"),
    _route("POST", "/containers/{id}/kill", "lifecycle:kill"),
    _route("POST", "/containers/{id}/wait", "waiting:wait"),
    _route("GET", "/containers/{id}/logs", "streams:logs"),
    _route("POST", "/containers/{id}/attach", "streams:attach"),
    _route("DELETE", "/containers/{id}", "lifecycle:remove"),
    _route("GET", "/images/json", "images:list_"),
    _route("GET", "/images/{name*}/json", "images:inspect"),
)

_SWARM = "This node is not a swarm manager: rpod runs containers on one machine"
_ABSENT = (
    (r"/(swarm|nodes|services|tasks|secrets|configs)(/.*)?", 503, _SWARM),
    (r"/plugins(/.*)?", 501, "there are no plugins: rpod has its drivers built in"),
    (r"/libpod/.*", 501, "podman's own API is not there: use docker's, or the rpod command"),
    (r"/(session|grpc)", 501, "there is no BuildKit here: use the classic builder (POST /build)"),
    (r"/containers/[^/]+/(checkpoints|attach/ws).*", 501, "not there: use the rpod command"),
)  # fmt: skip


def absent(path: str) -> HttpError | None:
    """Return the answer for what docker has and rpod has not."""
    for pattern, status, reason in _ABSENT:
        if re.fullmatch(pattern, path):
            return HttpError(status, reason)
    return None
