"""containers-registries.conf(5): what a name without a registry stands for.

An alias says it outright; else the registries of `unqualified-search-registries` are candidates, in
their order; without either it is Docker Hub. What the tables say is checked here; who reads the
files is not known here.
"""

from storage.errors import InvalidDocument, InvalidReference
from storage.oci.checks import as_object, get_strings, get_text
from storage.record import NamedTuple
from storage.reference import DEFAULT_REGISTRY, Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ENFORCING, PERMISSIVE, DISABLED = "enforcing", "permissive", "disabled"
_MODES = (ENFORCING, PERMISSIVE, DISABLED)
_SEARCH, _MODE, _ALIASES = "unqualified-search-registries", "short-name-mode", "aliases"


class ShortNames(NamedTuple):
    """What is set for short names; `search` is None where no file says anything."""

    aliases: dict[str, tuple[str, str]]
    search: tuple[str, ...] | None
    mode: str


class Resolution(NamedTuple):
    """What a short name may stand for, the first to be tried first; `why` is for people.

    `must_choose`: there are several, and the configuration wants a person to decide.
    """

    candidates: tuple[Reference, ...]
    why: str
    must_choose: bool


def read_short_names(documents: "Iterable[tuple[str, dict[str, object]]]") -> ShortNames:
    """Join the tables of (path, document) pairs; what comes later replaces what came earlier.

    Raises InvalidDocument.
    """
    aliases: dict[str, tuple[str, str]] = {}
    search: tuple[str, ...] | None = None
    mode = ""
    for path, document in documents:
        found = get_strings(document, _SEARCH, path)
        if found is not None:
            search = found
        mode = get_text(document, _MODE, path) or mode
        if mode and mode not in _MODES:
            raise InvalidDocument(f"{path}: {_MODE}: {mode[:40]!r} is none of {', '.join(_MODES)}")
        for name, value in as_object(document.get(_ALIASES, {}), f"{path}: aliases").items():
            if not isinstance(value, str):
                raise InvalidDocument(f"{path}: aliases.{name[:100]}: not a text")
            # An empty value takes an alias of an earlier file away.
            aliases[name] = (value, path)
    return ShortNames(aliases, search, mode or PERMISSIVE)


def resolve_short_name(text: str, known: ShortNames) -> Resolution:
    """Return what a short name stands for. Raises InvalidReference, InvalidDocument."""
    plain = parse_reference(text, default_registry="localhost")
    target, where = known.aliases.get(plain.repository, ("", ""))
    if target:
        return Resolution(
            (_aliased(target, plain, where),), f'resolved "{text}" as an alias ({where})', False
        )
    if known.search is None:
        found = parse_reference(text)
        return Resolution(
            (found,), f'"{text}" has no registry, and none is configured: taking {found}', False
        )
    if not known.search:
        raise InvalidReference(
            f"image name {text!r}: it has no registry, and the configuration names none to search",
            remedy=f"write {DEFAULT_REGISTRY}/{text}, or set {_SEARCH} in registries.conf",
        )
    candidates = tuple(_searched(registry, text) for registry in known.search)
    listed = ", ".join(known.search)
    return Resolution(
        candidates,
        f'"{text}" has no registry: searching {listed}',
        known.mode == ENFORCING and len(candidates) > 1,
    )


def _aliased(target: str, plain: Reference, where: str) -> Reference:
    try:
        found = parse_reference(target)
    except InvalidReference as error:
        raise InvalidDocument(f"{where}: aliases.{plain.repository}: {error.message}") from error
    return found._replace(tag=plain.tag, digest=plain.digest)


def _searched(registry: str, text: str) -> Reference:
    try:
        return parse_reference(f"{registry.rstrip('/')}/{text}")
    except InvalidReference as error:
        raise InvalidDocument(f"{_SEARCH}: {registry[:100]!r}: {error.message}") from error
