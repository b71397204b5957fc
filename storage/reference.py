"""Names of images: the grammar of the distribution project, with docker's defaults.

reference := name [":" tag] ["@" digest]; name := [domain "/"] component *("/" component).
Written without `re`: this module is on the path of `rpod run`.
"""

from storage.digest import is_digest
from storage.errors import InvalidReference
from storage.record import NamedTuple

DEFAULT_REGISTRY = "docker.io"
LOCAL_REGISTRY = "localhost"
_NAME_LIMIT = 255
_TAG_LIMIT = 128
_SHOWN = 120
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdef")
_HEX_ADDRESS = frozenset("0123456789abcdefABCDEF:.")
_TAG = _ALNUM | frozenset("_.-")
_HEX_LENGTH = 64


class Reference(NamedTuple):
    """An image name in full; at least one of `tag` and `digest` is set."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        text = self.name
        if self.tag is not None:
            text += f":{self.tag}"
        if self.digest is not None:
            text += f"@{self.digest}"
        return text


class _Split(NamedTuple):
    domain: str
    path: str
    tag: str | None
    digest: str | None


def parse_reference(text: str, *, default_registry: str = DEFAULT_REGISTRY) -> Reference:
    """Read what a user typed and fill in registry, `library/` and `:latest`.

    A short name gets `default_registry`; a local build or import passes LOCAL_REGISTRY.
    Raises InvalidReference.
    """
    split = _split(text)
    domain, path = split.domain or default_registry, split.path
    if domain == "index.docker.io":
        domain = DEFAULT_REGISTRY
    if domain == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    tag = split.tag
    if tag is None and split.digest is None:
        tag = "latest"
    return Reference(domain, path, tag, split.digest)


def local_candidates(text: str) -> tuple[str, ...]:
    """Return the full names that `text` may stand for in the store, the best first.

    Raises InvalidReference.
    """
    full = str(parse_reference(text))
    if _split(text).domain:
        return (full,)
    return (str(parse_reference(text, default_registry=LOCAL_REGISTRY)), full)


def is_reference(text: str) -> bool:
    """Tell whether a text is a name by the grammar."""
    try:
        _split(text)
    except InvalidReference:
        return False
    return True


def is_short_name(text: str) -> bool:
    """Tell whether a name lacks its registry. Raises InvalidReference."""
    return not _split(text).domain


def is_registry_host(first: str) -> bool:
    """Tell whether the first component of a name is a registry, and not a part of the path."""
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def without_digest(reference: Reference) -> Reference:
    """Return the reference by tag only; `:latest` when there was no tag."""
    return reference._replace(tag=reference.tag or "latest", digest=None)


def _split(text: str) -> _Split:
    rest = text.removeprefix("docker://")
    if not rest:
        raise _invalid(text, "the name is empty")
    rest, at, digest = rest.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, "after '@' a digest sha256:<64 hexadecimal digits> is expected")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _is_tag(tag):
        raise _invalid(text, f"{tag[:_SHOWN]!r} is not a tag (letters, digits and _ . -)")
    name = head + slash + last
    first, slash, others = name.partition("/")
    is_domain = slash and is_registry_host(first)
    domain, path = (first, others) if is_domain else ("", name)
    if domain and not _is_domain(domain):
        raise _invalid(text, f"{domain[:_SHOWN]!r} is not a registry host")
    _check_path(text, path)
    if len(name) > _NAME_LIMIT:
        raise _invalid(text, f"the name is longer than {_NAME_LIMIT} characters")
    if not domain and len(name) == _HEX_LENGTH and _HEX.issuperset(name):
        raise _invalid(text, "64 hexadecimal digits are an image id, not a name")
    return _Split(domain, path, tag if colon else None, digest if at else None)


def _check_path(text: str, path: str) -> None:
    for component in path.split("/"):
        if _is_component(component):
            continue
        if component != component.lower() and _is_component(component.lower()):
            raise _invalid(text, "the repository must be lower case", remedy=text.lower())
        raise _invalid(
            text, f"{component[:_SHOWN]!r} is not a repository name (a-z, 0-9 and . _ -)"
        )


def _is_component(text: str) -> bool:
    """Alphanumeric runs, separated by one of `.`, `_`, `__` or any number of `-`."""
    if not text or text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    separator = ""
    for character in text:
        if character in _LOWER:
            separator = ""
            continue
        separator += character
        if separator not in (".", "_", "__") and separator.strip("-"):
            return False
    return True


def _is_tag(text: str) -> bool:
    return 0 < len(text) <= _TAG_LIMIT and text[0] not in ".-" and _TAG.issuperset(text)


def _is_domain(text: str) -> bool:
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        if not bracket or not address or not _HEX_ADDRESS.issuperset(address):
            return False
        return not port or (port.startswith(":") and _is_port(port[1:]))
    host, colon, port = text.partition(":")
    if colon and not _is_port(port):
        return False
    return all(
        label
        and label[0] in _ALNUM
        and label[-1] in _ALNUM
        and _ALNUM.issuperset(label.replace("-", ""))
        for label in host.split(".")
    )


def _is_port(text: str) -> bool:
    return 0 < len(text) <= len("65535") and _DIGITS.issuperset(text) and int(text) < 1 << 16


def _invalid(text: str, why: str, *, remedy: str = "") -> InvalidReference:
    return InvalidReference(
        f"image name {text[:_SHOWN]!r}: {why}", remedy=f"write {remedy}" if remedy else ""
    )
