"""Documents of Kubernetes as they come: YAML or JSON, with typed access that names the place.

Kubernetes API reference, v1 and apps/v1: the parts that a single host can have.
"""

from rootless.config import parse_yaml_documents
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT_BYTES = 4 << 20
# What a template of a pod is in, and where.
WORKLOADS = ("Deployment", "DaemonSet", "Job")
SUPPORTED = ("Pod", *WORKLOADS, "ConfigMap", "Secret", "PersistentVolumeClaim")


class Fields:
    """An object of a document; every error names the place."""

    __slots__ = ("raw", "where")

    def __init__(self, raw: object, where: str) -> None:
        if raw is None:
            raw = {}
        if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
            raise UsageError(f"{where}: an object was expected")
        self.raw: dict[str, object] = raw
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self.raw.get(key) is not None

    def part(self, key: str) -> "Fields":
        return Fields(self.raw.get(key), f"{self.where}.{key}")

    def parts(self, key: str) -> "list[Fields]":
        return [
            Fields(entry, f"{self.where}.{key}[{position}]")
            for position, entry in enumerate(self._list(key))
        ]

    def _list(self, key: str) -> list[object]:
        value = self.raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise UsageError(f"{self.where}.{key}: a list was expected")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self.raw.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise UsageError(
                f"{self.where}.{key}: text was expected, not {value!r}",
                remedy="put it in quotes",
            )
        return value

    def needed(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise UsageError(f"{self.where}.{key} is missing")
        return value

    def texts(self, key: str) -> list[str]:
        values = self._list(key)
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise UsageError(
                    f"{self.where}.{key}[{position}]: text was expected, not {value!r}",
                    remedy="put it in quotes",
                )
        return [str(value) for value in values]

    def pairs(self, key: str) -> dict[str, str]:
        """Return a map of texts to texts."""
        part = self.part(key)
        return {name: part.text(name) for name in part.raw}

    def number(self, key: str) -> int | None:
        value = self.raw.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{self.where}.{key}: a whole number was expected, not {value!r}")
        return value

    def numbers(self, key: str) -> list[int]:
        values = self._list(key)
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            raise UsageError(f"{self.where}.{key}: a list of numbers was expected")
        return [int(str(value)) for value in values]

    def flag(self, key: str) -> bool | None:
        value = self.raw.get(key)
        if value is None:
            return None
        if not isinstance(value, bool):
            raise UsageError(f"{self.where}.{key}: true or false was expected, not {value!r}")
        return value

    def quantity(self, key: str) -> str:
        """Return an amount such as 100Mi, 0.5, 500m; "" for none."""
        value = self.raw.get(key)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UsageError(f"{self.where}.{key}: an amount was expected, not {value!r}")
        return str(value)


class Document(Fields):
    """One document with its kind and name."""

    __slots__ = ("kind", "name")

    def __init__(self, raw: object, where: str) -> None:
        super().__init__(raw, where)
        self.kind = self.text("kind")
        self.name = self.part("metadata").text("name")
        self.where = f"{self.kind or 'document'} {self.name}".rstrip()


def parse_documents(data: bytes, where: str) -> list[Document]:
    """Return the documents of a file, those of lists one by one. Raises UsageError."""
    if len(data) > _LIMIT_BYTES:
        raise UsageError(f"read {where}: larger than {_LIMIT_BYTES >> 20} MiB")
    found = []
    for position, raw in enumerate(parse_yaml_documents(data, where)):
        if raw is not None:
            found += list(_flatten(raw, f"{where}, document {position + 1}"))
    for document in found:
        if document.kind in SUPPORTED and not document.name:
            raise UsageError(f"{document.kind.lower()} does not have a name")
    if not any(document.kind in SUPPORTED for document in found):
        raise UsageError(
            "YAML document does not contain any supported kube kind",
            remedy="supported: " + ", ".join(SUPPORTED),
        )
    return found


def _flatten(raw: object, where: str) -> "Iterator[Document]":
    document = Document(raw, where)
    if document.kind != "List":
        yield document
        return
    for entry in document.parts("items"):
        yield Document(entry.raw, entry.where)
