"""history and image tree: what images consist of."""

import itertools
import time

from rootless import images
from rootless.cli.output import Row, Table, print_formatted, printable, write
from rootless.human import ago_text, go_time, parse_rfc3339, size_text
from storage.images import find_image, image_config, list_images
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.images import ImageRecord
    from storage.layout import Layout
    from storage.oci.config import ImageConfig

FIELDS = (
    "Comment", "Created", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size", "Tags",
)  # fmt: skip
# How Go, and so podman, writes a time that is not known.
_NEVER = "0001-01-01T00:00:00Z"
_HEADINGS = {"CreatedSince": "CREATED"}
_MISSING = "<missing>"
_SHORT_ID = 12
_SHOWN_COMMAND = 45


class Step(NamedTuple):
    """One step of a history, with the image that it ended in when the store has that."""

    image_id: str
    tags: tuple[str, ...]
    created: str
    created_by: str
    comment: str
    size_bytes: int


def history(invocation: "Invocation") -> int:
    """Show the steps in which an image was made, the newest first."""
    host = invocation.host()
    record = find_image(host.layout, invocation.text("image"), all_names=True)
    steps = list(reversed(read_steps(host, record)))
    full = invocation.flag("no_trunc")
    if invocation.flag("quiet"):
        write("".join(f"{_id(step, full=full)}\n" for step in steps))
        return 0
    rows = [_row(step, full=full, human=invocation.flag("human")) for step in steps]
    text = invocation.text("format")
    if text == "json":
        import json

        documents = [row.document for row in rows]
        write(json.dumps(documents, separators=(",", ":"), ensure_ascii=False) + "\n")
    elif text and text != "table":
        print_formatted(rows, text, headings=_HEADINGS, valid=FIELDS)
    else:
        names = ("ID", "Created", "CreatedBy", "Size", "Comment")
        columns = [(name, name in ("CREATED BY", "COMMENT")) for name in
                   ("ID", "CREATED", "CREATED BY", "SIZE", "COMMENT")]  # fmt: skip
        Table(*columns).print(
            [[str(row[name]).rstrip() for name in names] for row in rows],
            noheading=False,
            full=full,
        )
    return 0


def read_steps(host: "Host", record: "ImageRecord") -> list[Step]:
    """Return the steps of an image, the oldest first; layers without a step follow."""
    config = image_config(host.layout, record)
    made = _ancestors(host.layout, record, config)
    sizes = iter(images.layer_sizes(host, record))
    steps = []
    for position, entry in enumerate(config.history):
        image_id, tags = made.get(position, ("", ()))
        steps.append(
            Step(
                image_id,
                tags,
                str(entry.get("created") or ""),
                str(entry.get("created_by") or ""),
                str(entry.get("comment") or ""),
                0 if entry.get("empty_layer") is True else next(sizes, 0),
            )
        )
    steps += [Step("", (), record.created, "", "", size) for size in sizes]
    if steps:
        steps[-1] = steps[-1]._replace(image_id=record.image_id, tags=record.names)
    return steps


def _ancestors(
    layout: "Layout", record: "ImageRecord", config: "ImageConfig"
) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Return the images whose whole history an image begins with, by their last step."""
    found: dict[int, tuple[str, tuple[str, ...]]] = {}
    for other in list_images(layout):
        if other.diff_ids != record.diff_ids[: len(other.diff_ids)]:
            continue
        steps = image_config(layout, other).history
        if 0 < len(steps) < len(config.history) and steps == config.history[: len(steps)]:
            found.setdefault(len(steps) - 1, (other.image_id, other.names))
    return found


def _id(step: Step, *, full: bool) -> str:
    return (step.image_id if full else step.image_id[:_SHORT_ID]) or _MISSING


def _row(step: Step, *, full: bool, human: bool) -> Row:
    since = ago_text(step.created, time.time())
    command = step.created_by
    if not full and len(command) > _SHOWN_COMMAND:
        command = command[: _SHOWN_COMMAND - 3] + "..."
    moment_s = parse_rfc3339(step.created)
    plain = _NEVER
    if moment_s is not None:
        plain = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment_s))
    fields: dict[str, object] = {
        "ID": _id(step, full=full),
        "Created": since if human else plain,
        "CreatedAt": go_time(plain),
        "CreatedBy": command,
        "CreatedSince": since,
        "Size": size_text(step.size_bytes),
        "Comment": step.comment,
        "Tags": list(step.tags),
    }
    document: dict[str, object] = {
        "id": step.image_id or _MISSING,
        "created": step.created or _NEVER,
        "CreatedBy": step.created_by,
        "size": step.size_bytes,
        "comment": step.comment,
    }
    if step.tags:
        document["tags"] = list(step.tags)
    return Row(fields, document)


def tree(invocation: "Invocation") -> int:
    """Show the layers of an image, or what was built on it, as a tree."""
    host = invocation.host()
    record = find_image(host.layout, invocation.text("image"), all_names=True)
    layers = _Layers(host, record, list_images(host.layout))
    lines = [
        f"Image ID: {record.image_id[:_SHORT_ID]}",
        f"Tags:     [{' '.join(record.names)}]",
        f"Size:     {_size(record.size_bytes)}",
        "Image Layers",
    ]
    if not record.chain_ids:
        lines[-1] = "No Image Layers"
    elif invocation.flag("whatrequires"):
        lines += layers.children(record.chain_ids[-1])
    else:
        lines += layers.branch(record.chain_ids, "")
    write("".join(f"{printable(line)}\n" for line in lines))
    return 0


class _Layers:
    """The layers of the store, and the images that end in each."""

    def __init__(self, host: "Host", record: "ImageRecord", records: "list[ImageRecord]") -> None:
        self._above: dict[str, list[str]] = {}
        self._tops: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}
        wanted = set(record.chain_ids)
        for other in records:
            chains = other.chain_ids
            if not wanted.intersection(chains):
                continue
            self._sizes.update(zip(chains, images.layer_sizes(host, other), strict=True))
            for below, above in itertools.pairwise(chains):
                known = self._above.setdefault(below, [])
                if above not in known:
                    known.append(above)
            names = other.names or (other.image_id[:_SHORT_ID],)
            self._tops.setdefault(chains[-1], []).extend(names)

    def branch(self, chains: tuple[str, ...], indent: str) -> list[str]:
        """Draw layers one below the other."""
        lines = []
        for position, chain_id in enumerate(chains):
            is_last = position == len(chains) - 1
            mark = "\u2514\u2500\u2500" if is_last else "\u251c\u2500\u2500"
            lines.append(f"{indent}{mark} {self._text(chain_id)}")
        return lines

    def children(self, chain_id: str, indent: str = "") -> list[str]:
        """Draw a layer and all that is built on it; where ways part it goes one deeper."""
        run = [chain_id]
        while len(self._above.get(run[-1], ())) == 1:
            run.append(self._above[run[-1]][0])
        lines = self.branch(tuple(run), indent)
        for child in self._above.get(run[-1], ()):
            lines += self.children(child, f"{indent}    ")
        return lines

    def _text(self, chain_id: str) -> str:
        short = chain_id.removeprefix("sha256:")[:_SHORT_ID]
        text = f"ID: {short} Size: {_size(self._sizes[chain_id]):>7}"
        names = self._tops.get(chain_id)
        return f"{text} Top Layer of: [{' '.join(names)}]" if names else text


def _size(size_bytes: float) -> str:
    """Return "3.974MB": four digits, no space, as podman's tree."""
    units = ("B", "kB", "MB", "GB", "TB")
    unit = 0
    while size_bytes >= 1000 and unit < len(units) - 1:
        size_bytes /= 1000
        unit += 1
    return f"{size_bytes:.4g}{units[unit]}"
