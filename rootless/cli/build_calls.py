"""What `build --call` shows: the stages of a Containerfile, what a target can be given."""

from rootless.build.checking import read_sources
from rootless.build.graph import make_graph
from rootless.build.model import Arg, Run, Stage
from rootless.build.parser import Parsed
from rootless.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless.build.contexts import Opened
    from rootless.build.request import BuildRequest

_SECRET, _SSH = "secret", "ssh"
_COLUMN_GAP = 3


def show_targets(request: "BuildRequest", opened: "Opened") -> int:
    """Print every stage with the comment above it. Raises BuildError, UsageError."""
    parsed, _ = read_sources(request, opened)
    rows = []
    for stage in parsed.stages:
        mark = " (default)" if stage is parsed.stages[-1] else ""
        rows.append((_name(stage) + mark, _comment(parsed, stage)))
    write(_table(("TARGET", "DESCRIPTION"), rows))
    return 0


def show_outline(request: "BuildRequest", opened: "Opened") -> int:
    """Print the arguments, secrets and agents of a target. Raises BuildError, UsageError."""
    parsed, arguments = read_sources(request, opened)
    contexts = frozenset(request.build_contexts)
    graph = make_graph(parsed, arguments, request.target, contexts)
    stages = [node.stage for node in graph.nodes]
    target = next(stage for stage in stages if stage.position == graph.target)
    text = f"TARGET: {_name(target)}\n"
    if comment := _comment(parsed, target):
        text += f"DESCRIPTION: {comment}\n"
    declared = {name: (value or "",) for one in parsed.arguments for name, value in one.pairs}
    for name, value in _arguments(stages):
        if value is not None or name not in declared:
            declared[name] = (value or "",)
    declared |= {name: (value,) for name, value in arguments.values.items() if name in declared}
    declared |= {name: (value,) for name, value in arguments.given.items() if name in declared}
    rows = [(name, *value) for name, value in declared.items()]
    for title, found in (
        (("BUILD ARG", "VALUE"), rows),
        (("SECRET", "REQUIRED"), sorted(_mounts(stages, _SECRET))),
        (("SSH", "REQUIRED"), sorted(_mounts(stages, _SSH))),
    ):
        if found:
            text += "\n" + _table(title, found)
    write(text)
    return 0


def _name(stage: Stage) -> str:
    return stage.source.name or str(stage.position)


def _comment(parsed: Parsed, stage: Stage) -> str:
    """Return what a comment right above FROM says of the stage, if it begins with its name."""
    line = stage.source.range.first - 2
    text = parsed.file.lines[line].strip() if line >= 0 else ""
    words = text.lstrip("#").split(None, 1)
    if not text.startswith("#") or len(words) < 2 or words[0].lower() != _name(stage).lower():
        return ""
    return words[1]


def _arguments(stages: "Sequence[Stage]") -> "Iterator[tuple[str, str | None]]":
    for stage in stages:
        for one in stage.instructions:
            if isinstance(one, Arg):
                yield from one.pairs


def _mounts(stages: "Sequence[Stage]", kind: str) -> "set[tuple[str, str]]":
    """Return the ids that steps ask for, with `true` where they cannot do without."""
    found: dict[str, str] = {}
    for stage in stages:
        for one in stage.instructions:
            for mount in one.mounts if isinstance(one, Run) else ():
                if mount.kind != kind:
                    continue
                fields = dict(mount.fields)
                path = fields.get("target") or fields.get("dst") or fields.get("destination") or ""
                name = fields.get("id") or (
                    path.rpartition("/")[2] if kind == _SECRET else "default"
                )
                required = fields.get("required", "false").lower() in ("", "true", "1")
                found[name] = "true" if required else found.get(name, "")
    return set(found.items())


def _table(titles: "tuple[str, ...]", rows: "Sequence[tuple[str, ...]]") -> str:
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    lines = []
    for row in (titles, *rows):
        cells = (cell.ljust(width + _COLUMN_GAP) for cell, width in zip(row, widths, strict=True))
        lines.append("".join(cells).rstrip() + "\n")
    return "".join(lines)
