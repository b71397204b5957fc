"""Binds, volumes and mounts of docker's document, as the words of `-v` and `--mount`."""

import os

from rootless.service.fields import Fields
from rootless.service.http import HttpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def volumes(body: Fields, config: Fields) -> tuple[str, ...]:
    """Return Binds and Volumes. A directory to be bound that is missing is made, as by docker.

    Raises HttpError.
    """
    result = []
    taken = set()
    for text in config.texts("Binds"):
        source, colon, rest = text.partition(":")
        if not colon or not rest.startswith("/"):
            raise HttpError(400, f"invalid volume specification: {text!r:.200}")
        if source.startswith("/"):
            _make_directory(source)
        elif source.startswith((".", "~")):
            raise HttpError(400, f"invalid volume specification: {text!r:.200}: not absolute")
        taken.add(os.path.normpath(rest.partition(":")[0]))
        result.append(text)
    for mount in config.parts("Mounts"):
        taken.add(os.path.normpath(mount.text("Target")))
    taken |= {os.path.normpath(path) for path in config.pairs("Tmpfs")}
    for path in body.keys("Volumes"):
        if ":" in path:
            raise HttpError(400, f"invalid volume: {path!r:.200}")
        if os.path.normpath(path) not in taken:
            result.append(path)
    return tuple(result)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError:
        return  # a file
    except OSError as error:
        raise HttpError(400, f"bind {path}: {error.strerror}") from error


def mounts(host: "Host", config: Fields) -> tuple[str, ...]:
    """Return Mounts. Raises HttpError."""
    return tuple(_mount(host, mount) for mount in config.parts("Mounts"))


def _mount(host: "Host", mount: Fields) -> str:
    kind, source, target = mount.text("Type"), mount.text("Source"), mount.text("Target")
    words = [f"type={kind}", f"dst={target}"]
    if mount.flag("ReadOnly"):
        words.append("ro")
    match kind:
        case "bind":
            words += _bind(mount, source)
        case "volume":
            words += _volume(host, mount, source)
        case "tmpfs":
            options = mount.part("TmpfsOptions")
            if size := options.number("SizeBytes"):
                words.append(f"tmpfs-size={size}")
            if mode := options.number("Mode"):
                words.append(f"tmpfs-mode={mode:o}")
        case "image":
            words.append(f"src={source}")
            if path := mount.part("ImageOptions").text("Subpath"):
                words.append(f"subpath={path}")
        case _:
            raise HttpError(400, f"{mount.where}.Type: mount type unknown: {kind!r:.80}")
    if any("," in word for word in words):
        raise HttpError(400, f"{mount.where}: a comma cannot be told from a separator")
    return ",".join(words)


def _bind(mount: Fields, source: str) -> list[str]:
    if not source.startswith("/"):
        raise HttpError(400, f"{mount.where}: invalid mount path: {source!r:.200}: not absolute")
    options = mount.part("BindOptions")
    if options.flag("CreateMountpoint"):
        _make_directory(source)
    if not os.path.lexists(source):
        raise HttpError(
            400,
            f'invalid mount config for type "bind": bind source path does not exist: {source}',
        )
    words = [f"src={source}"]
    if propagation := options.text("Propagation"):
        words.append(f"bind-propagation={propagation}")
    if options.flag("NonRecursive"):
        words.append("bind-nonrecursive")
    return words


def _volume(host: "Host", mount: Fields, source: str) -> list[str]:
    options = mount.part("VolumeOptions")
    words = [f"src={source}"] if source else []
    if options.flag("NoCopy"):
        words.append("nocopy")
    if path := options.text("Subpath"):
        words.append(f"subpath={path}")
    driver = options.part("DriverConfig")
    if driver.text("Name") not in ("", "local"):
        raise HttpError(501, f"{mount.where}: there is only the driver local")
    if source and (options.pairs("Labels") or driver.pairs("Options")):
        from storage.volumes import create_volume

        create_volume(
            host.layout,
            source,
            labels=options.pairs("Labels"),
            options=driver.pairs("Options"),
            exist_ok=True,
        )
    return words
