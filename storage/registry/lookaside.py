"""Where the signatures of a registry's images are: containers-registries.d(5).

Its files are YAML. What they may say is a mapping of mappings of plain values, and only that much
of the language is read here; anything else is an error, so that no setting is misread.
"""

import os

from storage.errors import InvalidDocument
from storage.record import NamedTuple
from storage.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Tree = dict[str, "str | Tree"]

_SYSTEM = "/etc/containers/registries.d"
_KNOWN = {
    "lookaside", "lookaside-staging", "sigstore", "sigstore-staging", "use-sigstore-attachments",
}  # fmt: skip


class Lookaside(NamedTuple):
    """`url` has simple signatures, or is empty; with `attachments` the registry has sigstore's."""

    url: str
    attachments: bool


def find_lookaside(
    reference: Reference, environment: "Mapping[str, str]", *, system: str = _SYSTEM
) -> Lookaside:
    """Return where to look for the signatures of an image. Raises InvalidDocument."""
    sections, default = _sections(environment, system)
    names = [str(reference), reference.name]
    while "/" in names[-1]:
        names.append(names[-1].rpartition("/")[0])
    section = next((sections[name] for name in names if name in sections), default)
    if section is None:
        data = environment.get("HOME", "")
        return Lookaside(f"file://{data}/.local/share/containers/sigstore" if data else "", False)
    url = section.get("lookaside") or section.get("sigstore") or ""
    return Lookaside(url, section.get("use-sigstore-attachments", "") == "true")


def find_scope(scope: str, environment: "Mapping[str, str]", *, system: str = _SYSTEM) -> str:
    """Return where the signatures of a registry or a part of it are, "" where nothing is said.

    Raises InvalidDocument.
    """
    sections, default = _sections(environment, system)
    names = [scope]
    while "/" in names[-1]:
        names.append(names[-1].rpartition("/")[0])
    section = next((sections[name] for name in names if name in sections), default) or {}
    return section.get("lookaside") or section.get("sigstore") or ""


def _sections(
    environment: "Mapping[str, str]", system: str
) -> tuple[dict[str, dict[str, str]], dict[str, str] | None]:
    home = environment.get("HOME", "")
    own = f"{home}/.config/containers/registries.d"
    directory = own if home and os.path.isdir(own) else system
    found: dict[str, dict[str, str]] = {}
    default: dict[str, str] | None = None
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        if not name.endswith(".yaml"):
            continue
        path = f"{directory}/{name}"
        for key, value in read_yaml(path).items():
            if key == "default-docker" and default is None:
                default = _section(value, f"{path}: {key}")
            elif key == "docker" and isinstance(value, dict):
                for scope, raw in value.items():
                    if scope in found:
                        raise InvalidDocument(f"{path}: {scope} is set twice")
                    found[scope] = _section(raw, f"{path}: {scope}")
            else:
                raise InvalidDocument(f"{path}: {key[:80]!r} is not known here, or set twice")
    return found, default


def _section(raw: "str | Tree", where: str) -> dict[str, str]:
    if raw == "":
        return {}
    if not isinstance(raw, dict) or not raw.keys() <= _KNOWN:
        raise InvalidDocument(f"{where}: only {', '.join(sorted(_KNOWN))} are known")
    texts = {key: value for key, value in raw.items() if isinstance(value, str)}
    if len(texts) != len(raw):
        raise InvalidDocument(f"{where}: a text is expected")
    return texts


def read_yaml(path: str) -> "Tree":
    """Read mappings of mappings of plain values. Raises InvalidDocument for anything else."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDocument(f"read {path}: {error}") from error
    top: Tree = {}
    # Open mappings with the indentation of their keys; -1: not known before the first key.
    stack: list[tuple[int, Tree]] = [(0, top)]
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        text = _without_comment(line)
        if not text.strip() or text == "---":
            continue
        indent = len(text) - len(text.lstrip(" "))
        if stack[-1][0] == -1:
            parent = stack[-2][0]
            stack[-1:] = [(indent, stack[-1][1])] if indent > parent else []
        while stack and indent < stack[-1][0]:
            stack.pop()
        if not stack or indent != stack[-1][0]:
            raise InvalidDocument(f"{where}: the indentation fits nothing above")
        key, value = _key_and_value(text.strip(), where)
        if key in stack[-1][1]:
            raise InvalidDocument(f"{where}: {key!r} is set twice")
        if value:
            stack[-1][1][key] = _plain(value, where)
            continue
        below: Tree = {}
        stack[-1][1][key] = below
        stack.append((-1, below))
    return _empty_as_text(top)


def _empty_as_text(tree: "Tree") -> "Tree":
    return {
        key: (_empty_as_text(value) if value else "") if isinstance(value, dict) else value
        for key, value in tree.items()
    }


def _without_comment(line: str) -> str:
    quote = ""
    for position, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (position == 0 or line[position - 1] in " \t"):
            return line[:position].rstrip()
    return line.rstrip()


def _key_and_value(text: str, where: str) -> tuple[str, str]:
    if text[0] in "'\"":
        key, quote, rest = text[1:].partition(text[0])
        if quote and rest.startswith(":"):
            return key, rest[1:].strip()
    elif text.endswith(":") and ": " not in text and text[:-1]:
        return _plain(text[:-1], where), ""
    elif ": " in text:
        key, _, value = text.partition(": ")
        return _plain(key, where), value.strip()
    raise InvalidDocument(f"{where}: KEY: VALUE is expected")


def _plain(text: str, where: str) -> str:
    if text[:1] in ("'", '"') and len(text) > 1 and text[-1] == text[0] and "\\" not in text:
        return text[1:-1]
    if text[:1] in tuple("'\"[]{}&*!|>%@`-?,") or "\t" in text:
        raise InvalidDocument(f"{where}: {text[:60]!r} is more of YAML than is read here")
    return text
