"""containers-policy.json(5): which images may be brought into the store.

A file that exists is obeyed: what would need a signature to be verified is refused, because rpod
verifies none. Without a file everything is accepted, as by docker.
"""

import json

from storage.errors import InvalidDocument, PolicyRefused
from storage.files import read_file
from storage.oci.checks import as_object
from storage.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE_LIMIT_BYTES = 4 << 20
_SYSTEM_PATH = "/etc/containers/policy.json"
_ACCEPT = "insecureAcceptAnything"
_REJECT = "reject"
_SIGNED = ("signedBy", "sigstoreSigned", "signedBaseLayer")


def check_policy(
    reference: Reference, environment: "Mapping[str, str]", *, system_path: str = _SYSTEM_PATH
) -> None:
    """Return when the user's policy, else the system's, lets an image be pulled.

    Raises PolicyRefused, InvalidDocument.
    """
    home = environment.get("HOME", "")
    for path in (f"{home}/.config/containers/policy.json" if home else "", system_path):
        fields = _load(path) if path else None
        if fields is not None:
            _apply(fields, reference, path)
            return


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


def _apply(fields: dict[str, object], reference: Reference, path: str) -> None:
    transports = _object(fields.get("transports", {}), path, "transports")
    docker = _object(transports.get("docker", {}), path, "transports.docker")
    for scope in _scopes(reference):
        if scope in docker:
            requirements, where = docker[scope], f"transports.docker[{scope!r}]"
            break
    else:
        requirements, where = fields.get("default"), "default"
    if not isinstance(requirements, list) or not requirements:
        raise _invalid(path, f"{where} is no list of requirements")
    for position, requirement in enumerate(requirements):
        _demand(requirement, reference, path, f"{where}[{position}]")


def _object(raw: object, path: str, where: str) -> dict[str, object]:
    try:
        return as_object(raw, where)
    except InvalidDocument as error:
        raise _invalid(path, error.message) from error


def _demand(raw: object, reference: Reference, path: str, where: str) -> None:
    """Return when one requirement is met; all of a list have to be."""
    kind = _object(raw, path, where).get("type")
    if kind == _ACCEPT:
        return
    if kind == _REJECT:
        raise PolicyRefused(
            f"pull {reference}: the policy rejects it ({path}: {where})",
            remedy=f"change {path}, or take the image from where it allows",
        )
    if kind in _SIGNED:
        raise PolicyRefused(
            f"pull {reference}: the policy wants a signature ({path}: {where} is {kind}),"
            " and rpod cannot verify signatures",
            remedy="pull and verify it with podman or skopeo, then hand it over with rpod load",
        )
    raise _invalid(path, f"{where}.type: {kind!r:.80} is not known")


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
