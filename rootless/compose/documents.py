"""Read YAML as compose files use it: YAML 1.2 scalars, merge keys, `!reset` and `!override`.

PyYAML makes the graph of nodes; the values are made here, because its scalars are those of
YAML 1.1 (`22:22` is a number there, `on` a boolean), and because every alias is counted where it is
expanded: a small file may not become a large one.
"""

import re

import yaml

from rootless.compose.errors import InvalidFile
from storage.record import NamedTuple

LIMIT_BYTES = 1 << 20
_LIMIT_VALUES = 100_000
_LIMIT_DEPTH = 100
_MERGE = "<<"
_TAG = "tag:yaml.org,2002:"
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL = re.compile(r"0o?[0-7]{1,18}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
# The C parser where PyYAML has been built with it.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str, ...]


class Document(NamedTuple):
    """One document; `reset` and `override` are the paths of the values so tagged."""

    value: object
    reset: tuple[Path, ...]
    override: tuple[Path, ...]


def read_documents(data: bytes, where: str) -> list[Document]:
    """Return the documents of a file. Raises InvalidFile."""
    if len(data) > LIMIT_BYTES:
        raise InvalidFile(f"read {where}: larger than {LIMIT_BYTES >> 20} MiB")
    if b"\0" in data:
        raise InvalidFile(f"read {where}: a binary file, not YAML")
    try:
        nodes = list(yaml.compose_all(data, Loader=_LOADER))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise InvalidFile(f"parsing {where}: {text}", remedy="correct the file") from error
    except (RecursionError, ValueError) as error:
        raise InvalidFile(f"parsing {where}: it is nested too deeply") from error
    return [_Values(where).document(node) for node in nodes]


class _Values:
    """Makes the values of one document."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0
        self._reset: list[Path] = []
        self._override: list[Path] = []

    def document(self, node: yaml.Node) -> Document:
        value = self._value(node, ())
        return Document(value, tuple(self._reset), tuple(self._override))

    def _fail(self, node: yaml.Node, text: str) -> InvalidFile:
        return InvalidFile(f"parsing {self._where}: line {node.start_mark.line + 1}: {text}")

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._count += 1
        if self._count > _LIMIT_VALUES:
            raise InvalidFile(
                f"parsing {self._where}: more than {_LIMIT_VALUES} values, aliases expanded"
            )
        if len(path) > _LIMIT_DEPTH:
            raise self._fail(node, "nested too deeply, or an alias inside of its own anchor")
        tag = str(node.tag)
        if tag == "!reset":
            self._reset.append(path)
            return None
        if tag == "!override":
            self._override.append(path)
        elif not tag.startswith(_TAG):
            raise self._fail(node, f"unknown tag {tag}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(one, (*path, str(i))) for i, one in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        merged: dict[str, object] = {}
        own: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._fail(key_node, "a key has to be text")
            key = str(key_node.value)
            if key == _MERGE and not key_node.style:
                merged = {**self._merged(value_node, path), **merged}
                continue
            if key in own:
                raise self._fail(key_node, f'mapping key "{key}" already defined')
            own[key] = self._value(value_node, (*path, key))
        return {**merged, **own} if merged else own

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, object]:
        value = self._value(node, (*path, _MERGE))
        found: dict[str, object] = {}
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise self._fail(node, "map merge requires map or sequence of maps as the value")
            found = {**one, **found}
        return found


def _scalar(node: yaml.ScalarNode) -> object:
    """Return the value of a scalar by the core schema of YAML 1.2; 0644 is octal as in Go's."""
    text = str(node.value)
    if node.style and node.tag in (f"{_TAG}str", "!override"):
        return text
    if node.tag == f"{_TAG}str" and not text.startswith(("0", "-0", "+0")):
        return text  # what YAML 1.1 calls text is text, but for its numbers
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _OCTAL.fullmatch(text) and text != "0":
        return int(text.replace("o", ""), 8)
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
