"""Whether what a project's file says can be used at all: each by whom its option is read.

What reads an option names the option in its errors; here the file and the key are named.
"""

import os

from rootless.errors import RootlessError, UsageError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rootless.container.project import Project

_OPTIONS = ("--volume: ", "--device ", "publish ", "image name ")


def check_values(project: "Project", path: str) -> None:
    """Raises UsageError with the file and the key."""
    from rootless.container.names import check_name

    for name in project.env:
        if not name or "=" in name:
            raise UsageError(f"{path}: env: {name!r} is no name of a variable")
    if project.containerfile and not os.path.isfile(project.containerfile):
        raise UsageError(f"{path}: containerfile: there is no file {project.containerfile}")
    if project.containerfile and not os.path.isdir(project.context):
        raise UsageError(f"{path}: context: there is no directory {project.context}")
    _check(f"{path}: image", (project.image,), _check_image)
    _check(f"{path}: mounts", project.mounts, _check_mount)
    targets = [text.split(":")[1] for text in project.mounts if ":" in text]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"{path}: mounts: two of them are at {target}")
    _check(f"{path}: ports", project.ports, _check_port)
    _check(f"{path}: devices", project.devices, _check_device)
    _check(f"{path}: keep", (project.keep,), check_name)
    if project.workdir and not project.workdir.startswith("/"):
        raise UsageError(f"{path}: workdir: {project.workdir!r} is not an absolute path")
    if project.command[:1] == ("",):
        raise UsageError(f"{path}: command: its first word is empty")


def _check(where: str, values: "Iterable[str]", check: "Callable[[str], object]") -> None:
    from slirp.errors import SlirpError

    for value in values:
        try:
            if value:
                check(value)
        except (RootlessError, StorageError, SlirpError) as error:
            message = error.message
            for option in _OPTIONS:
                message = message.removeprefix(option)
            raise UsageError(f"{where}: {message}", remedy=error.remedy) from error


def _check_image(text: str) -> None:
    from rootless.container.shell_words import FILES
    from storage.reference import parse_reference
    from storage.transports import is_source

    if not is_source(text) and not text.endswith(FILES):
        parse_reference(text)


def _check_mount(text: str) -> None:
    from rootless.container.mounts import VOLUME, parse_volume
    from storage.volumes import check_name

    mount = parse_volume(text, "/")
    if mount.kind == VOLUME and mount.source:
        check_name(mount.source)


def _check_port(text: str) -> None:
    from slirp.ports import parse_publish

    parse_publish(text)


def _check_device(text: str) -> None:
    from rootless.sandbox.devices import is_cdi_name, parse_device

    if not is_cdi_name(text):
        parse_device(text)
