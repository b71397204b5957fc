"""images: the list of images."""

import time

from rootless.cli.output import Row, Table, print_formatted, split_filters, write
from rootless.human import ago_text, go_time, parse_rfc3339, size_text, unix_time
from rootless.image_filters import (
    FILTERS,
    NONE,
    name_matches,
    passes_filters,
    repo_digests,
    split_name,
)
from storage.images import image_users, list_entries
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from storage.images import ImageRecord
    from storage.layout import Layout

FIELDS = (
    "Containers", "Created", "CreatedAt", "CreatedSince", "CreatedTime", "Digest", "Dangling",
    "History",
    "ID", "Labels", "Names", "ReadOnly", "RepoDigests", "RepoTags", "Repository", "Size", "Tag",
    "VirtualSize",
)  # fmt: skip
_HEADINGS = {"ID": "IMAGE ID", "CreatedSince": "CREATED", "RepoTags": "REPOSITORY TAGS"}
_SHORT_ID = 12


class Entry(NamedTuple):
    """One line of the list: an image under one of its names."""

    record: "ImageRecord"
    repository: str
    tag: str


def images(invocation: "Invocation") -> int:
    """List images."""
    layout = invocation.host().layout
    records = list_entries(layout)
    wanted = invocation.text("image")
    pairs = split_filters(invocation.texts("filter"), FILTERS, "image")
    if wanted:
        pairs.append(("reference", wanted))
    if pairs:
        records = [record for record in records if passes_filters(layout, record, pairs)]
    full = invocation.flag("no_trunc")
    entries = [entry for record in records for entry in _entries(record, wanted)]
    entries = _sorted(entries, invocation.text("sort"))
    if invocation.flag("quiet"):
        ids = dict.fromkeys(_id(entry.record, full=full) for entry in entries)
        write("".join(f"{one}\n" for one in ids))
        return 0
    now_s = time.time()
    text = invocation.text("format")
    digests = invocation.flag("digests")
    history = invocation.flag("history")
    if not text or text == "table":
        _print_table(
            entries,
            now_s,
            full=full,
            digests=digests,
            history=history,
            noheading=invocation.flag("noheading"),
        )
        return 0
    if text in ("json", "jsonl"):
        entries = list({entry.record.manifest_digest: entry for entry in entries}.values())
    print_formatted(
        [_row(layout, entry, now_s, full=full) for entry in entries],
        text,
        headings=_HEADINGS,
        valid=FIELDS,
        noheading=invocation.flag("noheading"),
        indent=4,
    )
    return 0


def _entries(record: "ImageRecord", wanted: str) -> list[Entry]:
    names = [name for name in record.names if not wanted or name_matches(name, wanted)]
    return [Entry(record, *split_name(name)) for name in names or record.names] or [
        Entry(record, NONE, NONE)
    ]


def _sorted(entries: list[Entry], order: str) -> list[Entry]:
    if order == "created":
        return sorted(
            entries, key=lambda entry: parse_rfc3339(entry.record.created) or 0.0, reverse=True
        )
    if order == "size":
        return sorted(entries, key=lambda entry: entry.record.size_bytes)
    texts: dict[str, Callable[[Entry], str]] = {
        "id": lambda entry: entry.record.image_id,
        "repository": lambda entry: entry.repository,
        "tag": lambda entry: entry.tag,
    }
    return sorted(entries, key=texts[order])


def _id(record: "ImageRecord", *, full: bool) -> str:
    return f"sha256:{record.image_id}" if full else record.image_id[:_SHORT_ID]


def _print_table(
    entries: list[Entry],
    now_s: float,
    *,
    full: bool,
    digests: bool,
    history: bool,
    noheading: bool,
) -> None:
    columns = [("REPOSITORY", True), ("TAG", True)]
    if digests:
        columns.append(("DIGEST", False))
    columns += [("IMAGE ID", False), ("CREATED", False), ("SIZE", False)]
    if history:
        columns.append(("HISTORY", True))
    lines = [
        (
            entry.repository,
            entry.tag,
            *([entry.record.manifest_digest] if digests else []),
            _id(entry.record, full=full),
            ago_text(entry.record.created, now_s),
            size_text(entry.record.size_bytes),
            *([", ".join(entry.record.names)] if history else []),
        )
        for entry in entries
    ]
    Table(*columns).print(lines, noheading=noheading, full=full)


def _row(layout: "Layout", entry: Entry, now_s: float, *, full: bool) -> Row:
    record = entry.record
    users = len(image_users(layout, record))
    since = ago_text(record.created, now_s)
    names = list(record.names)
    fields: dict[str, object] = {
        "Containers": users,
        "Created": since,
        "CreatedAt": go_time(record.created),
        "CreatedSince": since,
        "CreatedTime": go_time(record.created),
        "Dangling": not names,
        "Digest": record.manifest_digest,
        "History": ", ".join(names),
        "ID": _id(record, full=full),
        "Labels": record.labels,
        "Names": names,
        "ReadOnly": bool(record.store),
        "RepoDigests": repo_digests(record),
        "RepoTags": names,
        "Repository": entry.repository,
        "Size": size_text(record.size_bytes),
        "Tag": entry.tag,
        "VirtualSize": record.size_bytes,
    }
    document = {
        "Id": record.image_id,
        "ParentId": "",
        "RepoTags": names or None,
        "RepoDigests": repo_digests(record),
        "Size": record.size_bytes,
        "SharedSize": 0,
        "VirtualSize": record.size_bytes,
        "Labels": record.labels or None,
        "Containers": users,
        "Names": names,
        "Digest": record.manifest_digest,
        "History": names,
        "Created": unix_time(record.created),
        "CreatedAt": record.created,
        **({"ReadOnly": True} if record.store else {}),
    }
    return Row(fields, document)
