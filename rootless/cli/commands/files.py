"""Commands on the files of containers."""

import os

from rootless.cli.commands.selection import one_container
from rootless.cli.output import write
from rootless.container.names import check_name
from rootless.errors import UsageError
from storage import event_log
from storage.containers import find_container, rename_container
from storage.errors import ContainerNotFound, ImageNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.copy import End


def copy(invocation: "Invocation") -> int:
    """Copy between a container and the host, or two containers."""
    from rootless.container import copy as copying

    source, target = (_end(invocation.text(name)) for name in ("source", "target"))
    copying.copy(
        invocation.host(),
        source,
        target,
        archive=invocation.flag("archive"),
        overwrite=invocation.flag("overwrite"),
    )
    return 0


def _end(text: str) -> "End":
    """Read [CONTAINER:]PATH; what begins with / or . is a path, whatever follows (docker-cp)."""
    from rootless.container.copy import End

    name, colon, path = text.partition(":")
    if not colon or "/" in name or text.startswith((".", "/")):
        return End("", text)
    if not name or not path:
        raise UsageError(
            f'invalid argument "{text}": you must specify paths', remedy="say CONTAINER:PATH"
        )
    return End(name, path)


def commit(invocation: "Invocation") -> int:
    """Make an image of a container."""
    from rootless.build.changes import parse_changes
    from rootless.container.commit import CommitOptions
    from rootless.container.commit import commit as make_image

    options = CommitOptions(
        name=invocation.text("image"),
        changes=parse_changes(invocation.texts("change")) if invocation.texts("change") else None,
        author=invocation.text("author"),
        message=invocation.text("message"),
        docker=invocation.text("format") == "docker",
        squash=invocation.flag("squash"),
        include_volumes=invocation.flag("include_volumes"),
    )
    record = make_image(invocation.host(), invocation.text("container"), options)
    path = invocation.text("iidfile")
    if path:
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(record.image_id)
        except OSError as error:
            raise UsageError(f"write --iidfile {path}: {error.strerror}") from error
    write(f"{record.image_id}\n")
    return 0


def diff(invocation: "Invocation") -> int:
    """Show what a container has changed in its image; the name of an image works as well."""
    from rootless import images
    from rootless.cli.commands.image_diff import write_changes
    from rootless.container.changes import container_changes

    host = invocation.host()
    name = one_container(invocation, "container", host)
    try:
        changes = container_changes(host, name)
    except ContainerNotFound:
        try:
            changes = images.diff(host, name)
        except ImageNotFound as error:
            raise ContainerNotFound(f"{name}: no such container or image") from error
    write_changes(invocation, changes)
    return 0


def export(invocation: "Invocation") -> int:
    """Write the root file system of a container as a tar archive."""
    from rootless.container.export import export_root

    path = invocation.text("output")
    if not path and os.isatty(1):
        raise UsageError(
            "refusing to export to terminal. Use -o flag or redirect",
            remedy="rpod export -o FILE",
        )
    host = invocation.host()
    if not path:
        export_root(host, invocation.text("container"), 1)
        return 0
    find_container(host.layout, invocation.text("container"))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"write {path}: {error.strerror}") from error
    try:
        export_root(host, invocation.text("container"), fd)
    finally:
        os.close(fd)
    return 0


def rename(invocation: "Invocation") -> int:
    """Give a container another name."""
    host = invocation.host()
    found = find_container(host.layout, invocation.text("container"))
    name = check_name(invocation.text("name"))
    rename_container(host.layout, found.record.id, name, sync=True)
    if found.pid and found.record.networks:
        from rootless.container.networks_names import rename_endpoints

        rename_endpoints(host.layout, found.record, name)
    renamed = found.record._replace(name=name)
    event_log.container_event(host.layout.run_root, "rename", record=renamed)
    return 0
