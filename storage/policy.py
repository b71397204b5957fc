"""containers-policy.json(5): which images may be brought into the store.

A file that exists is obeyed, for registries and for files: what it rejects is refused here, and
what it wants signed is a `Demand`, for `storage.verify` to check. Without a file everything is
accepted, as by docker.
"""

import base64
import json
import os

from storage.errors import InvalidDocument, PolicyRefused
from storage.files import read_file
from storage.oci.checks import as_object
from storage.record import NamedTuple
from storage.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE_LIMIT_BYTES = 4 << 20
_SYSTEM_PATH = "/etc/containers/policy.json"
_ACCEPT = "insecureAcceptAnything"
_REJECT = "reject"
GPG, SIGSTORE = "signedBy", "sigstoreSigned"
_SIGNED_MEMBERS = {"type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"}
_UNVERIFIED = ("fulcio", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData",
               "rekorPublicKeyDatas", "pki")  # fmt: skip
_PATHS = ("dir", "oci", "oci-archive")
IDENTITIES = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}


class Demand(NamedTuple):
    """A signature that an image must have; `where` says which line of which file wants it.

    `kind` is GPG or SIGSTORE. One of the keys, in files or as bytes, has to have made it.
    `identity` is a member of IDENTITIES, `identity_values` are what its fields say.
    """

    kind: str
    key_paths: tuple[str, ...]
    key_data: bytes
    identity: str
    identity_values: tuple[str, ...]
    where: str


def check_policy(
    reference: Reference, environment: "Mapping[str, str]", *, system_path: str = _SYSTEM_PATH
) -> tuple[Demand, ...]:
    """Return what signatures the user's policy, else the system's, wants of an image to be pulled.

    Raises PolicyRefused, InvalidDocument.
    """
    return _check("docker", tuple(_scopes(reference)), str(reference), environment, system_path)


def check_source_policy(
    transport: str,
    path: str,
    wanted: str,
    environment: "Mapping[str, str]",
    *,
    system_path: str = _SYSTEM_PATH,
) -> tuple[Demand, ...]:
    """Do the same for an image in a file or a directory; `wanted` is its name there.

    Raises PolicyRefused, InvalidDocument.
    """
    scopes: list[str] = []
    if transport in _PATHS and path:
        place = os.path.realpath(path)
        if wanted:
            scopes.append(f"{place}:{wanted}")
        while place != "/":
            scopes.append(place)
            place = os.path.dirname(place)
    text = f"{transport}:{path}" if path else f"{transport} on standard input"
    return _check(transport, (*scopes, ""), text, environment, system_path)


def _check(
    transport: str,
    scopes: tuple[str, ...],
    image: str,
    environment: "Mapping[str, str]",
    system_path: str,
) -> tuple[Demand, ...]:
    path, fields = find_policy(environment, system_path=system_path)
    return () if fields is None else _apply(fields, transport, scopes, image, path)


def find_policy(
    environment: "Mapping[str, str]", *, system_path: str = _SYSTEM_PATH
) -> tuple[str, dict[str, object] | None]:
    """Return the file that holds, the user's or the system's, and what it says; None for none.

    Raises InvalidDocument.
    """
    home = environment.get("HOME", "")
    for path in (f"{home}/.config/containers/policy.json" if home else "", system_path):
        fields = _load(path) if path else None
        if fields is not None:
            return path, fields
    return "", None


def _load(path: str) -> dict[str, object] | None:
    try:
        data = read_file(path, limit_bytes=_FILE_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidDocument(
            f"read the policy {path}: {error.strerror}", remedy="make the file readable"
        ) from error
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise _invalid(path, "not an object")
    unknown = set(raw) - {"default", "transports"}
    if unknown:
        raise _invalid(path, f"{sorted(unknown)[0]!r:.80} is not known")
    return raw


def _invalid(path: str, why: str) -> InvalidDocument:
    return InvalidDocument(
        f"read the policy {path}: {why}",
        remedy="nothing is pulled against a policy that cannot be read: mend the file",
    )


def _apply(
    fields: dict[str, object], transport: str, scopes: tuple[str, ...], image: str, path: str
) -> tuple[Demand, ...]:
    transports = _object(fields.get("transports", {}), path, "transports")
    known = _object(transports.get(transport, {}), path, f"transports.{transport}")
    for scope in scopes:
        if scope in known:
            requirements, where = known[scope], f"transports.{transport}[{scope!r}]"
            break
    else:
        requirements, where = fields.get("default"), "default"
    if not isinstance(requirements, list) or not requirements:
        raise _invalid(path, f"{where} is no list of requirements")
    demands = [
        _demand(requirement, image, path, f"{where}[{position}]")
        for position, requirement in enumerate(requirements)
    ]
    return tuple(demand for demand in demands if demand is not None)


def _object(raw: object, path: str, where: str) -> dict[str, object]:
    try:
        return as_object(raw, where)
    except InvalidDocument as error:
        raise _invalid(path, error.message) from error


def _demand(raw: object, image: str, path: str, where: str) -> Demand | None:
    """Return what one requirement wants, None when it is met; all of a list have to be."""
    fields = _object(raw, path, where)
    kind = fields.get("type")
    if kind == _ACCEPT:
        return None
    if kind == _REJECT:
        raise PolicyRefused(
            f"pull {image}: the policy rejects it ({path}: {where})",
            remedy=f"change {path}, or take the image from where it allows",
        )
    if kind not in (GPG, SIGSTORE):
        raise _invalid(path, f"{where}.type: {kind!r:.80} is not known")
    for name in _UNVERIFIED:
        if name in fields:
            raise PolicyRefused(
                f"pull {image}: the policy wants {name} to be checked ({path}: {where}), and rpod"
                " checks signatures by given keys only",
                remedy="pull and verify it with podman or skopeo",
            )
    unknown = fields.keys() - _SIGNED_MEMBERS
    if unknown:
        raise _invalid(path, f"{where}.{sorted(unknown)[0][:80]} is not known")
    if kind == GPG and fields.get("keyType") != "GPGKeys":
        raise _invalid(path, f"{where}.keyType: GPGKeys is expected")
    key_paths, key_data = _keys(fields, path, where)
    identity, values = _identity(fields, path, f"{where}.signedIdentity")
    return Demand(str(kind), key_paths, key_data, identity, values, f"{path}: {where}")


def _keys(fields: dict[str, object], path: str, where: str) -> tuple[tuple[str, ...], bytes]:
    found = [name for name in ("keyPath", "keyPaths", "keyData") if name in fields]
    if len(found) != 1:
        raise _invalid(path, f"{where}: exactly one of keyPath, keyPaths and keyData is expected")
    value = fields[found[0]]
    if found[0] == "keyPaths" and isinstance(value, list) and value:
        if all(isinstance(one, str) and one for one in value):
            return tuple(value), b""
    elif isinstance(value, str) and value:
        if found[0] == "keyPath":
            return (value,), b""
        try:
            return (), base64.b64decode(value, validate=True)
        except ValueError as error:
            raise _invalid(path, f"{where}.keyData is not base64") from error
    raise _invalid(path, f"{where}.{found[0]} is no key")


def _identity(fields: dict[str, object], path: str, where: str) -> tuple[str, tuple[str, ...]]:
    raw = fields.get("signedIdentity")
    if raw is None:
        return "matchRepoDigestOrExact", ()
    wanted = _object(raw, path, where)
    kind = wanted.get("type")
    if not isinstance(kind, str) or kind not in IDENTITIES:
        raise _invalid(path, f"{where}.type: {kind!r:.80} is not known")
    names = IDENTITIES[kind]
    values = tuple(wanted.get(name) for name in names)
    if wanted.keys() != {"type", *names} or not all(isinstance(v, str) and v for v in values):
        raise _invalid(path, f"{where}: the members of {kind} are {', '.join(('type', *names))}")
    return kind, tuple(map(str, values))


def _scopes(reference: Reference) -> "Iterator[str]":
    """Yield the scopes that cover an image, the most specific first."""
    if reference.digest is not None:
        yield f"{reference.name}@{reference.digest}"
    else:
        yield str(reference)
    name = reference.name
    while "/" in name:
        yield name
        name = name.rpartition("/")[0]
    yield reference.registry
    host = reference.registry
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""
