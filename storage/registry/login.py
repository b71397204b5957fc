"""Writing down who the user is at a registry: podman's file, and docker's credential helpers.

containers-auth.json(5), podman-login(1). The file is replaced in one step and belongs to its user
alone; what else is in it stays.
"""

import base64
import contextlib
import fcntl
import json
import os

from storage.errors import NO_LOCKS, InvalidReference, StoreUnusable, from_os_error
from storage.files import write_file
from storage.oci.checks import get_object, get_string_map, get_text
from storage.record import NamedTuple
from storage.reference import DEFAULT_REGISTRY, Reference
from storage.registry.client import RegistryClient
from storage.registry.credentials import (
    find_credentials,
    load_file,
    plain_key,
    run_helper,
    store_key,
)
from storage.registry.hosts import split_host
from storage.registry.options import Credentials, PullOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DOCKER_HUB_NAMES = (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")
_KEY_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:[]")


class Server(NamedTuple):
    """What credentials are for: a registry, or repositories of it below `path`."""

    registry: str
    path: str = ""

    @property
    def key(self) -> str:
        """The name in the file."""
        return f"{self.registry}/{self.path}" if self.path else self.registry

    @property
    def reference(self) -> Reference:
        """Something that a look-up for the server can be made with."""
        return Reference(self.registry, self.path, "latest", None)


def parse_server(text: str) -> Server:
    """Read HOST[:PORT][/PATH], also as a URL. Raises InvalidReference, RegistryUnreachable."""
    plain = plain_key(text)
    registry, _, path = plain.partition("/")
    if not registry or not _KEY_LETTERS.issuperset(plain):
        raise InvalidReference(
            f"{text[:100]!r} is not a registry", remedy="say HOST[:PORT], such as quay.io"
        )
    split_host(registry)
    return Server(DEFAULT_REGISTRY if registry in _DOCKER_HUB_NAMES else registry, path)


def auth_path(environment: "Mapping[str, str]", authfile: str | None = None) -> str:
    """Return the file that a login is written to. Raises StoreUnusable where there is none."""
    named = authfile or environment.get("REGISTRY_AUTH_FILE")
    if named:
        return named
    runtime, home = environment.get("XDG_RUNTIME_DIR", ""), environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if not (runtime or config):
        raise StoreUnusable(
            "write credentials: neither XDG_RUNTIME_DIR nor HOME is set",
            remedy="name a file: --authfile FILE, REGISTRY_AUTH_FILE",
        )
    return f"{runtime or config}/containers/auth.json"


def check_login(
    server: Server,
    credentials: Credentials,
    options: PullOptions,
    environment: "Mapping[str, str]",
) -> None:
    """Show credentials to the registry.

    Raises RegistryDenied, RegistryUnreachable, RegistryProtocolError.
    """
    options = options._replace(credentials=credentials)
    RegistryClient(server.reference, options, environment, actions="").log_in()


def known_login(
    server: Server, environment: "Mapping[str, str]", authfile: str | None = None
) -> Credentials | None:
    """Return what the user's files and helpers say. Raises InvalidDocument, RegistryDenied."""
    if authfile is not None and not os.path.exists(authfile):
        return None
    return find_credentials(server.reference, environment=environment, authfile=authfile)


def save_login(
    path: str, server: Server, credentials: Credentials, environment: "Mapping[str, str]"
) -> None:
    """Write credentials to the file, or give them to the helper that it names for the server.

    Raises InvalidDocument, RegistryDenied, StoreUnusable.
    """

    def change(fields: dict[str, object]) -> None:
        auths = _without(get_object(fields, "auths", path), server)
        helper, name = _helper(fields, path, server)
        if helper:
            secret = {
                "ServerURL": name,
                "Username": credentials.user,
                "Secret": credentials.password,
            }
            run_helper(helper, "store", name, json.dumps(secret), environment)
            # As docker does: the entry says that the store has something.
            auths[server.key] = {}
        else:
            text = f"{credentials.user}:{credentials.password}"
            auths[server.key] = {"auth": base64.b64encode(text.encode()).decode()}
        fields["auths"] = auths

    _change(path, change)


def remove_login(path: str, server: Server, environment: "Mapping[str, str]") -> bool:
    """Take credentials out of the file or its helper; False when there were none.

    Raises InvalidDocument, RegistryDenied, StoreUnusable.
    """
    found = False

    def change(fields: dict[str, object]) -> None:
        nonlocal found
        before = get_object(fields, "auths", path)
        fields["auths"] = _without(before, server)
        helper, name = _helper(fields, path, server)
        if helper:
            found = run_helper(helper, "erase", name, name, environment) is not None
        found = found or fields["auths"] != before

    if os.path.exists(path):
        _change(path, change)
    return found


def remove_all_logins(path: str, environment: "Mapping[str, str]") -> None:
    """Take everything out of the file, and out of the helpers what they have for its registries.

    Raises InvalidDocument, RegistryDenied, StoreUnusable.
    """

    def change(fields: dict[str, object]) -> None:
        helpers = get_string_map(fields, "credHelpers", path)
        for key in {*helpers, *(plain_key(key) for key in get_object(fields, "auths", path))}:
            helper, name = _helper(fields, path, parse_server(key))
            if helper:
                run_helper(helper, "erase", name, name, environment)
        fields["auths"] = {}

    if os.path.exists(path):
        _change(path, change)


def _helper(fields: dict[str, object], path: str, server: Server) -> tuple[str, str]:
    """Return the helper for a server and the name that it knows it by; two empty strings if none.

    A store of docker's keeps registries, not repositories.
    """
    chosen = get_string_map(fields, "credHelpers", path).get(server.key, "")
    if chosen:
        return chosen, server.key
    store = get_text(fields, "credsStore", path)
    return (store, store_key(server.registry)) if store else ("", "")


def _without(auths: dict[str, object], server: Server) -> dict[str, object]:
    names = _DOCKER_HUB_NAMES if server.key == DEFAULT_REGISTRY else (server.key,)
    return {key: entry for key, entry in auths.items() if plain_key(key) not in names}


def _change(path: str, change: "Callable[[dict[str, object]], None]") -> None:
    """Read the file, change it and replace it, one command at a time."""
    # A link stays one: the file may be kept elsewhere.
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(f"write credentials to {path}", error) from error
    try:
        with _alone(fd, path):
            fields = load_file(path, is_required=os.path.exists(path)) or {}
            change(fields)
            write_file(path, f"{json.dumps(fields, indent=chr(9))}\n".encode(), mode=0o600)
    except OSError as error:
        raise from_os_error(f"write credentials to {path}", error) from error
    finally:
        os.close(fd)


def _alone(directory: int, path: str) -> contextlib.AbstractContextManager[object]:
    """Wait until no other command changes the file."""
    try:
        # The directory itself is the lock: nothing is left lying beside the file.
        fcntl.flock(directory, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        from storage.leases import Lease

        return Lease(os.path.dirname(path), f".{os.path.basename(path)}.lease")
    return contextlib.nullcontext()
