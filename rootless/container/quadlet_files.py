"""Quadlet files on disk: where they are, what stands in them, what others add to them.

podman-systemd.unit(5), systemd.syntax(7), systemd.unit(5) (drop-ins).
"""

import os

from rootless.container.quadlet_keys import KINDS
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Sections = dict[str, list[tuple[str, str]]]

_DEPTH = 16


def parse(text: str, where: str) -> "Sections":
    """Read a unit file: keys may be repeated, a backslash goes on. Raises UsageError."""
    sections: Sections = {}
    current: list[tuple[str, str]] | None = None
    pending = ""
    for number, raw in enumerate(text.splitlines(), 1):
        if pending and raw.lstrip().startswith(("#", ";")):
            continue
        line = pending + raw
        pending = ""
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            current = sections.setdefault(line[1:-1], [])
            continue
        key, separator, value = line.partition("=")
        if not separator or current is None:
            raise UsageError(f"read {where}, line {number}: not KEY=VALUE in a section")
        current.append((key.strip(), value.strip()))
    return sections


def split_words(text: str, where: str) -> list[str]:
    """Split as systemd does for our purposes: blanks, both kinds of quotes. Raises UsageError."""
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"read {where}: {text[:80]!r}: {error}") from error


class QuadletFiles:
    """The files below some directories; one in an earlier directory hides one of the same name."""

    __slots__ = ("_drop_ins", "_found")

    def __init__(self, directories: "Iterable[str]") -> None:
        self._found: dict[str, str] = {}
        self._drop_ins: dict[str, dict[str, str]] = {}
        for top in directories:
            for directory in _below(top):
                self._look(directory)

    def _look(self, directory: str) -> None:
        base = os.path.basename(directory)
        if base.endswith(".d"):
            conf = self._drop_ins.setdefault(base, {})
            for name in _names(directory):
                if name.endswith(".conf"):
                    conf.setdefault(name, f"{directory}/{name}")
            return
        for name in _names(directory):
            if os.path.splitext(name)[1] in KINDS:
                self._found.setdefault(name, f"{directory}/{name}")

    def paths(self) -> list[str]:
        """Return the files, sorted by path."""
        return sorted(self._found.values())

    def path(self, name: str, beside: str) -> str:
        """Return where the file `name` is; that beside the file which names it goes first."""
        near = f"{os.path.dirname(beside)}/{name}"
        return near if os.path.isfile(near) else self._found.get(name, near)

    def sections(self, path: str) -> "Sections":
        """Read a file with its drop-ins. Raises OSError, UsageError."""
        result: Sections = {}
        for part in (path, *self._drop_ins_of(os.path.basename(path))):
            try:
                with open(part, encoding="utf-8") as file:
                    read = parse(file.read(), part)
            except UnicodeDecodeError as error:
                raise UsageError(f"read {part}: {error}") from error
            for name, entries in read.items():
                result.setdefault(name, []).extend(entries)
        ours = KINDS.values()  # what is systemd's own goes to systemd as it stands
        return {
            name: _without_reset(entries) if name in ours else entries
            for name, entries in result.items()
        }

    def _drop_ins_of(self, name: str) -> list[str]:
        """Return the files that add to one, the most special directory's last word first."""
        stem, kind = os.path.splitext(name)
        chosen: dict[str, str] = {}
        for directory in _drop_in_names(stem, kind):
            for conf, path in self._drop_ins.get(directory, {}).items():
                chosen.setdefault(conf, path)
        return [chosen[conf] for conf in sorted(chosen)]


def _drop_in_names(stem: str, kind: str) -> "Iterator[str]":
    """Yield a-b@1.container.d, a-b@.container.d, a-.container.d, container.d."""
    yield f"{stem}{kind}.d"
    template, at, instance = stem.partition("@")
    if at and instance:
        yield f"{template}@{kind}.d"
    while "-" in template:
        template = template.rpartition("-")[0]
        yield f"{template}-{kind}.d"
    yield f"{kind[1:]}.d"


def _without_reset(entries: "list[tuple[str, str]]") -> "list[tuple[str, str]]":
    """Drop what stands before an empty value of the same key, and that one (systemd.syntax(7))."""
    result: list[tuple[str, str]] = []
    for key, value in entries:
        if value:
            result.append((key, value))
        else:
            result = [entry for entry in result if entry[0] != key]
    return result


def _below(top: str) -> "Iterator[str]":
    """Yield a directory and those in it; symbolic links are followed, a circle is not."""
    seen: set[tuple[int, int]] = set()
    waiting = [(top, 0)]
    while waiting:
        directory, depth = waiting.pop(0)
        try:
            status = os.stat(directory)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen or depth > _DEPTH:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield directory
        waiting += [(f"{directory}/{name}", depth + 1) for name in _names(directory)
                    if os.path.isdir(f"{directory}/{name}")]  # fmt: skip


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
