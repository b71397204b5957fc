"""containers-registries.conf(5), `[[registry]]`: where images of a prefix really come from.

What the tables say is checked here; who reads the files is not known here.
"""

from storage.errors import InvalidDocument, PolicyRefused
from storage.oci.checks import as_object
from storage.record import NamedTuple
from storage.reference import Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ALL, _DIGEST_ONLY, _TAG_ONLY = "all", "digest-only", "tag-only"
_VERSION_1 = "registries"


class Endpoint(NamedTuple):
    """One place to ask; `pull_from` says for which images it may be asked."""

    location: str
    insecure: bool
    pull_from: str


class Registry(NamedTuple):
    """What is set for the images whose names begin with `prefix`."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Endpoint, ...]
    where: str


class Source(NamedTuple):
    """A place that is asked for an image, under the name that the image has there."""

    reference: Reference
    insecure: bool


def read_registries(documents: "Iterable[tuple[str, dict[str, object]]]") -> tuple[Registry, ...]:
    """Return the tables of (path, document) pairs; a later table of a prefix replaces an earlier.

    Raises InvalidDocument.
    """
    found: dict[str, Registry] = {}
    for path, document in documents:
        if _VERSION_1 in document:
            raise InvalidDocument(
                f"read {path}: it is in version 1 of the format",
                remedy="write [[registry]] tables, version 2: man containers-registries.conf",
            )
        for position, raw in enumerate(_tables(document, "registry", path)):
            one = _registry(raw, f"{path}: registry[{position}]")
            found[one.prefix] = one
    return tuple(found.values())


def find_sources(registries: tuple[Registry, ...], reference: Reference) -> tuple[Source, ...]:
    """Return the places to ask for an image, mirrors first, the registry itself last.

    Raises PolicyRefused when it is blocked, InvalidReference when a location makes no name.
    """
    best = max(
        (one for one in registries if _matched(one.prefix, reference)),
        key=lambda one: len(one.prefix),
        default=None,
    )
    if best is None:
        return (Source(reference, insecure=False),)
    if best.blocked:
        raise PolicyRefused(
            f"use {reference}: the registry {best.prefix} is blocked ({best.where})",
            remedy="take the image from elsewhere, or change that file",
        )
    unwanted = _TAG_ONLY if reference.digest is not None else _DIGEST_ONLY
    mirrors = tuple(one for one in best.mirrors if one.pull_from != unwanted)
    places = (*mirrors, Endpoint(best.location, best.insecure, _ALL))
    matched = _matched(best.prefix, reference)
    return tuple(Source(_moved(reference, matched, one.location), one.insecure) for one in places)


def _registry(raw: object, where: str) -> Registry:
    fields = as_object(raw, where)
    location, prefix = _text(fields, "location", where), _text(fields, "prefix", where)
    if not (location or prefix):
        raise InvalidDocument(f"{where}: neither prefix nor location is set")
    if not location and not prefix.startswith("*."):
        raise InvalidDocument(f"{where}: no location for the prefix {prefix[:100]!r}")
    if "*" in prefix.removeprefix("*."):
        raise InvalidDocument(f"{where}.prefix: {prefix[:100]!r} has * within, not as *.HOST")
    digest_only = _flag(fields, "mirror-by-digest-only", where)
    mirrors = tuple(
        _mirror(one, f"{where}.mirror[{position}]", digest_only=digest_only)
        for position, one in enumerate(_tables(fields, "mirror", where))
    )
    return Registry(
        prefix or location,
        location,
        _flag(fields, "insecure", where),
        _flag(fields, "blocked", where),
        mirrors,
        where,
    )


def _mirror(raw: object, where: str, *, digest_only: bool) -> Endpoint:
    fields = as_object(raw, where)
    location = _text(fields, "location", where)
    if not location:
        raise InvalidDocument(f"{where}: no location")
    pull_from = _text(fields, "pull-from-mirror", where) or _ALL
    if pull_from not in (_ALL, _DIGEST_ONLY, _TAG_ONLY):
        raise InvalidDocument(
            f"{where}.pull-from-mirror: {pull_from[:40]!r} is none of all, digest-only, tag-only"
        )
    return Endpoint(
        location, _flag(fields, "insecure", where), _DIGEST_ONLY if digest_only else pull_from
    )


def _tables(fields: dict[str, object], key: str, where: str) -> list[object]:
    found = fields.get(key, [])
    if not isinstance(found, list):
        raise InvalidDocument(f"{where}: {key} is no list of tables: write [[{key}]]")
    return found


def _text(fields: dict[str, object], key: str, where: str) -> str:
    found = fields.get(key, "")
    if not isinstance(found, str):
        raise InvalidDocument(f"{where}.{key}: not a text")
    return found.removeprefix("docker://").rstrip("/")


def _flag(fields: dict[str, object], key: str, where: str) -> bool:
    found = fields.get(key, False)
    if not isinstance(found, bool):
        raise InvalidDocument(f"{where}.{key}: neither true nor false")
    return found


def _matched(prefix: str, reference: Reference) -> str:
    """Return the part of an image's name that a prefix stands for, empty when it is another's."""
    name = str(reference)
    if prefix.startswith("*."):
        host, slash, path = prefix[1:].partition("/")
        if not reference.registry.endswith(host) or reference.registry == host:
            return ""
        prefix = f"{reference.registry}{slash}{path}"
    if name.startswith(prefix) and name[len(prefix) :][:1] in ("", "/", ":", "@"):
        return prefix
    return ""


def _moved(reference: Reference, matched: str, location: str) -> Reference:
    if not location or location == matched:
        return reference
    return parse_reference(location + str(reference)[len(matched) :])
