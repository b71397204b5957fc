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


_IMAGE = "/images/{name*}"
_BOX = "/containers/{id}"
ROUTES = (
    _route("GET HEAD", "/_ping", "system:ping"),
    _route("GET", "/version", "system:version"),
    _route("GET", "/info", "system:info"),
    _route("GET", "/system/df", "watching:df"),
    _route("GET", "/events", "watching:events"),
    _route("POST", "/auth", "registry:auth"),
    _route("POST", "/build", "building:build"),
    _route("POST", "/build/prune", "watching:build_prune"),
    _route("POST", "/commit", "images:commit"),
    _route("GET", "/containers/json", "containers:list_"),
    _route("POST", "/containers/create", "creating:create"),
    _route("POST", "/containers/prune", "lifecycle:prune"),
    _route("GET", _BOX + "/json", "containers:inspect"),
    _route("POST", _BOX + "/start", "lifecycle:start"),
    _route("POST", _BOX + "/stop", "lifecycle:stop"),
    _route("POST", _BOX + "/restart", "lifecycle:restart"),
    _route("POST", _BOX + "/kill", "lifecycle:kill"),
    _route("POST", _BOX + "/pause", "lifecycle:pause"),
    _route("POST", _BOX + "/unpause", "lifecycle:unpause"),
    _route("POST", _BOX + "/rename", "lifecycle:rename"),
    _route("POST", _BOX + "/update", "lifecycle:update"),
    _route("POST", _BOX + "/resize", "lifecycle:resize"),
    _route("GET", _BOX + "/top", "lifecycle:top"),
    _route("GET", _BOX + "/stats", "watching:stats"),
    _route("POST", _BOX + "/wait", "waiting:wait"),
    _route("GET", _BOX + "/logs", "streams:logs"),
    _route("POST", _BOX + "/attach", "streams:attach"),
    _route("POST", _BOX + "/exec", "execs:create"),
    _route("GET", _BOX + "/archive", "archive:get"),
    _route("HEAD", _BOX + "/archive", "archive:head"),
    _route("PUT", _BOX + "/archive", "archive:put"),
    _route("GET", _BOX + "/export", "archive:export"),
    _route("GET", _BOX + "/changes", "archive:changes"),
    _route("DELETE", _BOX, "lifecycle:remove"),
    _route("POST", "/exec/{id}/start", "execs:start"),
    _route("POST", "/exec/{id}/resize", "execs:resize"),
    _route("GET", "/exec/{id}/json", "execs:inspect"),
    _route("GET", "/images/json", "images:list_"),
    _route("POST", "/images/create", "registry:create"),
    _route("GET", "/images/search", "registry:search"),
    _route("POST", "/images/prune", "images:prune"),
    _route("GET", "/images/get", "images:get"),
    _route("POST", "/images/load", "images:load"),
    _route("GET", _IMAGE + "/json", "images:inspect"),
    _route("GET", _IMAGE + "/history", "images:history"),
    _route("GET", _IMAGE + "/get", "images:get"),
    _route("POST", _IMAGE + "/push", "registry:push"),
    _route("POST", _IMAGE + "/tag", "images:tag"),
    _route("DELETE", _IMAGE, "images:remove"),
    _route("GET", "/distribution/{name*}/json", "registry:distribution"),
    _route("GET", "/networks", "networks:list_"),
    _route("POST", "/networks/create", "networks:create"),
    _route("POST", "/networks/prune", "networks:prune"),
    _route("GET", "/networks/{id}", "networks:inspect"),
    _route("DELETE", "/networks/{id}", "networks:remove"),
    _route("POST", "/networks/{id}/connect", "networks:connect"),
    _route("POST", "/networks/{id}/disconnect", "networks:disconnect"),
    _route("GET", "/volumes", "volumes:list_"),
    _route("POST", "/volumes/create", "volumes:create"),
    _route("POST", "/volumes/prune", "volumes:prune"),
    _route("GET", "/volumes/{name}", "volumes:inspect"),
    _route("DELETE", "/volumes/{name}", "volumes:remove"),
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
