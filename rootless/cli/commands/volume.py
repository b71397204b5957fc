"""Commands on named volumes."""

import sys

from rootless.cli.commands.looks import volume_document
from rootless.cli.commands.selection import exit_code, for_each, removal_exit_code
from rootless.cli.output import Row, Table, print_documents, print_formatted, split_filters, write
from rootless.cli.pairs import key_values
from rootless.errors import UsageError
from rootless.filters import matches_label, passes
from storage import event_log
from storage.errors import InvalidDocument, VolumeNotFound
from storage.volumes import (
    create_volume,
    find_volume,
    list_volumes,
    mountpoint,
    read_volume,
    remove_volume,
    volume_users,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.volumes import VolumeRecord

_FILTERS = ("name", "label", "label!", "driver", "dangling", "scope", "until", "opt")
_PRUNE_FILTERS = ("until", "label", "label!", "name", "driver", "opt")
FIELDS = (
    "Anonymous", "CreatedAt", "Driver", "Labels", "MountCount", "Mountpoint", "Name", "Options",
    "Scope",
)  # fmt: skip
_HEADINGS = {"Name": "VOLUME NAME"}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def create(invocation: "Invocation") -> int:
    """Make a volume and print its name."""
    record = create_volume(
        invocation.host().layout,
        invocation.text("name"),
        labels=key_values(invocation.texts("label"), "label", bare=True),
        options=key_values(invocation.texts("opt"), "opt", bare=False),
        exist_ok=invocation.flag("ignore"),
    )
    _say(record.name)
    return 0


def list_(invocation: "Invocation") -> int:
    """List volumes."""
    host = invocation.host()
    damaged: list[InvalidDocument] = []
    records = list_volumes(host.layout, damaged)
    for error in damaged:
        host.note(f"{error.message}; {error.remedy}")
    pairs = split_filters(invocation.texts("filter"), _FILTERS, "volume")
    text = invocation.text("format")
    users = volume_users(host.layout) if pairs or text else {}
    records = [record for record in records if _passes(record, pairs, users)]
    if invocation.flag("quiet"):
        write("".join(f"{record.name}\n" for record in records))
    elif not text or text == "table":
        Table(("DRIVER", False), ("VOLUME NAME", False)).print(
            [("local", record.name) for record in records],
            noheading=invocation.flag("noheading"),
            full=True,
        )
    else:
        rows = [_row(host, record, users) for record in records]
        print_formatted(
            rows,
            text,
            headings=_HEADINGS,
            valid=FIELDS,
            noheading=invocation.flag("noheading"),
        )
    return 0


def _row(host: "Host", record: "VolumeRecord", users: dict[str, list[str]]) -> Row:
    document = volume_document(host, record, users=users)
    fields = {key: value for key, value in document.items() if key in FIELDS}
    return Row(fields, document)


def _passes(
    record: "VolumeRecord", filters: list[tuple[str, str]], users: dict[str, list[str]]
) -> bool:
    return passes(filters, lambda key, value: _test(record, key, value, users))


def _test(record: "VolumeRecord", key: str, value: str, users: dict[str, list[str]]) -> bool:
    import time

    from rootless.container.moments import parse_moment
    from rootless.human import parse_rfc3339

    match key:
        case "name":
            import re

            return bool(re.search(value, record.name))
        case "label":
            return matches_label(record.labels, value)
        case "label!":
            return not matches_label(record.labels, value)
        case "opt":
            return matches_label(record.options, value)
        case "dangling":
            return (value == "true") == (record.name not in users)
        case "until":
            moment_s = parse_moment(value, time.time())
            if moment_s is None:
                raise UsageError(f"volume filter until: {value!r} is no time")
            return (parse_rfc3339(record.created_at) or 0.0) < moment_s
        case _:
            return value == "local"


def inspect(invocation: "Invocation") -> int:
    """Show volumes."""
    from rootless.cli.commands.looks import look_at_volume, show_documents

    host = invocation.host()
    names = invocation.texts("names")
    text = invocation.text("format")
    if not invocation.flag("all"):
        if not names:
            raise UsageError("you must provide at least one volume name, or --all")
        return show_documents(host, names, look_at_volume, text)
    if names:
        raise UsageError("--all and names of volumes do not go together")
    users = volume_users(host.layout)
    records = list_volumes(host.layout)
    print_documents([volume_document(host, record, users=users) for record in records], text)
    return 0


def remove(invocation: "Invocation") -> int:
    """Remove volumes; with --force the containers that use them first."""
    host = invocation.host()
    names = list(invocation.texts("names"))
    if invocation.flag("all"):
        if names:
            raise UsageError("--all and names of volumes do not go together")
        names = [record.name for record in list_volumes(host.layout)]
    elif not names:
        raise UsageError("you must provide at least one volume name, or --all")
    force = invocation.flag("force")

    def remove_one(text: str) -> None:
        try:
            name = find_volume(host.layout, text).name
        except InvalidDocument:
            name = text
        except VolumeNotFound:
            if force:
                return
            raise
        if force:
            _remove_users(host, name, invocation.number("time"))
        remove_one_volume(host, name)
        _say(text)

    return removal_exit_code(for_each(names, remove_one))


def _remove_users(host: "Host", name: str, timeout_s: int | None) -> None:
    from rootless.container.ending import remove as remove_container

    for container_id in volume_users(host.layout).get(name, []):
        remove_container(host, container_id, force=True, timeout_s=timeout_s)


def remove_one_volume(host: "Host", name: str, *, is_prune: bool = False) -> None:
    """Remove a volume, whoever owns the files in it. Raises VolumeNotFound, InUse."""
    try:
        remove_volume(host.layout, name)
    except PermissionError:
        from rootless.linux.userns import run_in_userns

        # Files of the container's other ids: root of the user namespace may remove them.
        run_in_userns(lambda _: remove_volume(host.layout, name), host.id_maps())
    if is_prune:
        event_log.volume_event(host.layout.run_root, "prune", name)


def prune(invocation: "Invocation") -> int:
    """Remove volumes that no container uses."""
    from rootless.cli.output import confirm

    pairs = split_filters(invocation.texts("filter"), _PRUNE_FILTERS, "prune")
    wants_all = invocation.flag("all")
    host = invocation.host()
    users = volume_users(host.layout)
    chosen = [
        record.name
        for record in list_volumes(host.layout)
        if record.name not in users
        and (wants_all or record.anonymous)
        and _passes(record, pairs, users)
    ]
    if not invocation.flag("force"):
        what = "all volumes" if wants_all else "all anonymous volumes"
        question = f"WARNING! This will remove {what} not used by at least one container."
        if not chosen:
            _say(f"{question}\nNo dangling volumes found")
            return 0
        if not confirm(question):
            return 0

    def remove_one(name: str) -> None:
        remove_one_volume(host, name, is_prune=True)
        _say(name)

    return exit_code(for_each(chosen, remove_one))


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether a volume exists."""
    try:
        read_volume(invocation.host().layout, invocation.text("name"))
    except VolumeNotFound:
        return 1
    return 0


def export(invocation: "Invocation") -> int:
    """Write what is in a volume as a tar archive."""
    import os

    from rootless.container.volume_files import export_volume

    host = invocation.host()
    path = invocation.text("output")
    record = find_volume(host.layout, invocation.text("name"))
    if not path and os.isatty(1):
        raise UsageError(
            "refusing to export to terminal. Use -o flag or redirect",
            remedy="rpod volume export -o FILE VOLUME",
        )
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(path, flags, 0o666) if path else 1
    except OSError as error:
        raise UsageError(f"write {path}: {error.strerror}") from error
    export_volume(host, record, fd)
    return 0


def import_(invocation: "Invocation") -> int:
    """Put what is in an archive into a volume."""
    import os

    from rootless.container.volume_files import import_volume

    host = invocation.host()
    path = invocation.text("file")
    record = find_volume(host.layout, invocation.text("name"))
    try:
        fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"read {path}: {error.strerror}") from error
    import_volume(host, record, fd)
    return 0


def mount(invocation: "Invocation") -> int:
    """Print the directory of a volume, inside of a session of `unshare`."""
    from rootless.container.image_mounts import check_unshared

    check_unshared("volume mount")
    layout = invocation.host().layout
    _say(mountpoint(layout, find_volume(layout, invocation.text("name"))))
    return 0


def unmount(invocation: "Invocation") -> int:
    """Print the name of a volume; there is nothing to unmount."""
    _say(find_volume(invocation.host().layout, invocation.text("name")).name)
    return 0
