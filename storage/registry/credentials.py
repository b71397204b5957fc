"""Looking up who the user is at a registry: podman's and docker's files, read only.

containers-auth.json(5): the first file that knows the registry wins; a key may carry a path, and
the most specific one wins. docker's credential helpers answer `get` over standard input.
"""

import json

from storage.errors import InvalidDocument, RegistryDenied
from storage.files import read_file
from storage.oci.checks import as_object, get_object, get_string_map, get_text
from storage.reference import DEFAULT_REGISTRY, Reference
from storage.registry.options import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE_LIMIT_BYTES = 4 << 20
_HELPER_TIMEOUT_S = 30
_HELPER_LIMIT_BYTES = 1 << 20
_TOKEN_USER = "<token>"  # noqa: S105 - what docker's helpers say instead of a user's name
_DOCKER_HUB_KEYS = (
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
)
_HELPER_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def parse_credentials(text: str) -> Credentials:
    """Read USER:PASSWORD, the value of --creds. Raises RegistryDenied."""
    user, colon, password = text.partition(":")
    if not user or not colon:
        raise RegistryDenied(
            "read --creds: USER:PASSWORD is expected", remedy="write --creds USER:PASSWORD"
        )
    return Credentials(user, password)


def find_credentials(
    reference: Reference, *, environment: "Mapping[str, str]", authfile: str | None = None
) -> Credentials | None:
    """Return what the user's files say about the registry of `reference`.

    Run it outside a user namespace: a helper may talk to the user's own session bus.
    Raises InvalidDocument for a broken file, RegistryDenied for a helper that fails.
    """
    for path, is_required in _candidates(environment, authfile):
        fields = load_file(path, is_required=is_required)
        if fields is None:
            continue
        found = _in_file(fields, reference, path, environment)
        if found is not None:
            return found
    return None


def _candidates(
    environment: "Mapping[str, str]", authfile: str | None
) -> "Iterator[tuple[str, bool]]":
    """Yield (path, whether it must exist), the most important first."""
    named = authfile or environment.get("REGISTRY_AUTH_FILE")
    if named:
        yield named, True
        return
    home = environment.get("HOME", "")
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime:
        yield f"{runtime}/containers/auth.json", False
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config:
        yield f"{config}/containers/auth.json", False
    docker = environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    if docker:
        yield f"{docker}/config.json", False
    if home:
        yield f"{home}/.dockercfg", False


def load_file(path: str, *, is_required: bool) -> dict[str, object] | None:
    """Read a file of credentials; None when it is not there. Raises InvalidDocument."""
    try:
        data = read_file(path, limit_bytes=_FILE_LIMIT_BYTES)
    except OSError as error:
        if not is_required and isinstance(
            error, (FileNotFoundError, NotADirectoryError, PermissionError)
        ):
            return None
        raise InvalidDocument(
            f"read credentials from {path}: {error.strerror}",
            remedy="give an existing file: --authfile FILE, REGISTRY_AUTH_FILE",
        ) from error
    if not data.strip():
        return {}
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(
            f"read credentials from {path}: not JSON ({error})", remedy="mend or remove the file"
        ) from error
    fields = as_object(raw, path)
    # The legacy file of docker has the entries at its top.
    return {"auths": fields} if path.endswith("/.dockercfg") else fields


def _in_file(
    fields: dict[str, object],
    reference: Reference,
    path: str,
    environment: "Mapping[str, str]",
) -> Credentials | None:
    keys = tuple(_keys(reference))
    helpers = get_string_map(fields, "credHelpers", path)
    for key in keys:
        if key in helpers:
            return _ask_helper(helpers[key], key, environment)
    entries = {plain_key(name): entry for name, entry in get_object(fields, "auths", path).items()}
    for key in keys:
        if key in entries:
            found = _entry(entries[key], f"{path}: auths[{key!r}]")
            if found is not None:
                return found
    store = get_text(fields, "credsStore", path)
    if store:
        return _ask_helper(store, store_key(reference.registry), environment)
    return None


def _keys(reference: Reference) -> "Iterator[str]":
    """Yield the keys that cover a repository, the most specific first."""
    name = reference.name
    while "/" in name:
        yield name
        name = name.rpartition("/")[0]
    if reference.registry == DEFAULT_REGISTRY:
        yield from _DOCKER_HUB_KEYS
    else:
        yield reference.registry


def store_key(registry: str) -> str:
    """Return the server's name as docker writes it into a store."""
    return "https://index.docker.io/v1/" if registry == DEFAULT_REGISTRY else registry


def plain_key(key: str) -> str:
    """Return a key without the scheme and API version that old versions of docker wrote."""
    for scheme in ("https://", "http://"):
        key = key.removeprefix(scheme)
    key = key.rstrip("/")
    for suffix in ("/v1", "/v2"):
        key = key.removesuffix(suffix)
    return key


def _entry(raw: object, where: str) -> Credentials | None:
    """Read one entry; an empty one says that a store has the secret."""
    fields = as_object(raw, where)
    token = get_text(fields, "identitytoken", where)
    user, password = get_text(fields, "username", where), get_text(fields, "password", where)
    encoded = get_text(fields, "auth", where)
    if encoded:
        import base64
        import binascii

        try:
            text = base64.b64decode(encoded, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidDocument(
                f"{where}.auth: not base64 of USER:PASSWORD", remedy="log in again"
            ) from error
        user, _, password = text.partition(":")
    if not user and not token:
        return None
    return Credentials(user, password, token)


def _ask_helper(name: str, server: str, environment: "Mapping[str, str]") -> Credentials | None:
    """Let a helper say what it has for the server; None when that is nothing."""
    data = run_helper(name, "get", server, server, environment)
    if data is None:
        return None
    return _helper_answer(data, f"ask docker-credential-{name[:60]} for {server}")


def run_helper(
    name: str, action: str, server: str, text: str, environment: "Mapping[str, str]"
) -> bytes | None:
    """Run `docker-credential-NAME ACTION` with `text` as its input and return its output.

    None when it says that it has nothing for the server. Raises InvalidDocument, RegistryDenied.
    """
    program = f"docker-credential-{name}"
    doing = f"let {program[:80]} {action} the credentials of {server}"
    if not name or not _HELPER_NAME.issuperset(name):
        raise InvalidDocument(f"{doing}: not the name of a helper")
    import subprocess

    try:
        done = subprocess.run(
            [program, action],
            input=text.encode(),
            capture_output=True,
            env=dict(environment),
            timeout=_HELPER_TIMEOUT_S,
            check=False,
            cwd="/",
        )
    except OSError as error:
        raise RegistryDenied(
            f"{doing}: {error.strerror}",
            remedy=f"install {program}, or remove it from the credentials file",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RegistryDenied(f"{doing}: no answer in {_HELPER_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = (done.stdout or done.stderr).decode(errors="replace").strip()
        if "credentials not found" in said:
            return None
        shown = said[:200] or f"exit status {done.returncode}"
        raise RegistryDenied(f"{doing}: {shown}", remedy=f"try: {program} {action}")
    return done.stdout[:_HELPER_LIMIT_BYTES]


def _helper_answer(data: bytes, doing: str) -> Credentials:
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(f"{doing}: the answer is not JSON") from error
    fields = as_object(raw, doing)
    user, secret = get_text(fields, "Username", doing), get_text(fields, "Secret", doing)
    if user == _TOKEN_USER:
        return Credentials("", "", secret)
    return Credentials(user, secret)
