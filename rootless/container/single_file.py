"""`run FILE.sqfs` and `run FILE.sif`: a container whose image is one file, mounted where it lies.

Where it cannot be mounted (no /dev/fuse, no squashfuse) the file is unpacked once into the store,
like a layer. What has to be known of the root before it is mounted, the accounts and the mode of /,
lies in a layer directory that stands for the file: its stub.
"""

import os

from rootless.container import squash
from rootless.container.merged import read_merged
from rootless.container.owned_homes import owned_homes
from rootless.errors import HostError, UsageError
from rootless.host.paths import Host
from rootless.host.programs import find_program, install_command
from rootless.host.squashfs_tools import run_tool, squash_kind, why_not_mounted, why_not_trusted
from rootless.linux import syscalls
from rootless.linux.userns import IdMaps, run_in_userns
from rootless.sandbox.drivers import SQUASH
from rootless.sandbox.root import Root
from storage import owners
from storage.digest import digest_of
from storage.errors import InvalidArchive
from storage.image_record import ImageRecord
from storage.images import rfc3339_now
from storage.layers import LayerBuilder, has_layer, layer_lock, map_key
from storage.layout import Layout
from storage.oci.checks import parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import OCI_MANIFEST
from storage.record import NamedTuple
from storage.scratch import Scratch
from storage.squashfs import SquashFile, open_squash_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Mount = Callable[[], Callable[[], None]]

STUB_KEY = "squash"
_ACCOUNTS = ("etc/passwd", "etc/group")
_RUNSCRIPT = "/.singularity.d/runscript"
_ENVIRONMENT = "/.singularity.d/env"
_SHELL = "/bin/sh"
# What apptainer does before it runs something in an image of its own.
_WITH_ENVIRONMENT = (
    _SHELL,
    "-c",
    f'for s in {_ENVIRONMENT}/*.sh; do [ -f "$s" ] && . "$s"; done; exec "$@"',
    "sh",
)


class Prepared(NamedTuple):
    """An image to make a container of; `driver` is empty where the host's own one is to be used."""

    image: ImageRecord
    config: ImageConfig
    key: str
    driver: str


def prepare_file(host: Host, text: str, maps: IdMaps, why_not: str = "") -> Prepared:
    """Make a file ready to be the root of containers; with `why_not` it is not to be mounted.

    Raises InvalidArchive, HostError, StoreUnusable, DiskFull.
    """
    path = os.path.abspath(text)
    fd, file = open_squash_file(path)
    try:
        chain_id = digest_of(f"squashfs {path} {file.identity}".encode())
        why_not = why_not or why_not_mounted(host)
        key = map_key(maps.uids, maps.gids) if why_not else STUB_KEY
        with layer_lock(host.layout, chain_id):
            if not has_layer(host.layout, key, chain_id):
                if why_not:
                    host.note(f"unpacking {path} once, as it cannot be mounted: {why_not}")
                    _unpack(host, file, maps, key, chain_id)
                else:
                    make_stub(host, fd, file, maps, chain_id)
    finally:
        os.close(fd)
    config = _config_of(file, host.layout.layer_diff(key, chain_id))
    return Prepared(_record(file, chain_id, config), config, key, "" if why_not else SQUASH)


def prepare_image(
    host: Host, image: ImageRecord, maps: IdMaps, why_not: str = ""
) -> tuple[ImageRecord, str, str] | None:
    """Take the squashfs of an image that lies in another store, if that can be mounted.

    `why_not` is a reason against it. Returns the image with the layer that stands for the file, its
    key and the driver; None, with a line for the user, when the image is to be unpacked.
    Raises StoreUnusable, DiskFull.
    """
    name = image.names[0] if image.names else image.image_id[:12]
    is_own = image.store in ("", host.layout.shared)
    place = Layout(host.layout.shared if is_own else image.store, "")
    path = place.squash_file(image.image_id, squash_kind(maps))
    why_not = why_not or why_not_mounted(host)
    if not os.path.exists(path):
        if not host.layout.shared:
            return None  # nobody has promised one
        why_not = why_not or "no squashfs was made of it"
    where = "once on this node" if host.layout.shared else "once"
    if why_not:
        host.note(f"unpacking {name} {where}: {why_not}")
        return None
    try:
        fd, file = open_squash_file(path)
    except InvalidArchive as error:
        host.note(f"unpacking {name} {where}: {error.message}")
        return None
    try:
        if not is_own and (why_not := why_not_trusted(host, fd)):
            host.note(f"unpacking {name} {where}: {why_not}")
            return None
        chain_id = digest_of(f"squashfs {path} {file.identity}".encode())
        if not has_layer(host.layout, STUB_KEY, chain_id):
            with layer_lock(host.layout, chain_id):
                if not has_layer(host.layout, STUB_KEY, chain_id):
                    make_stub(host, fd, file, maps, chain_id)
    finally:
        os.close(fd)
    return image._replace(chain_ids=(chain_id,)), STUB_KEY, SQUASH


def why_not_owned(maps: IdMaps) -> str:
    """Say why the files of a mount would belong to nobody, and overlay could not copy them up.

    A FUSE mount takes the ids in the file for those of its user namespace, and root alone is there
    in every file; a single id that stands for another user leaves no root.
    """
    inside = maps.uids[0][0]
    if not maps.is_single or inside == 0:
        return ""
    return f"its one user is {inside}, and squashfuse gives files to root"


def make_stub(host: Host, fd: int, file: SquashFile, maps: IdMaps, chain_id: str) -> None:
    """Keep what has to be known of a root before it is mounted. Raises HostError, StoreUnusable."""
    with Scratch(host.layout, "squash") as scratch:
        point = f"{scratch.path}/root"
        os.mkdir(point, 0o700)
        seen = run_in_userns(lambda _: look(fd, file, point), maps, new_mounts=True)
    assert isinstance(seen, dict)
    from storage.unpack import UnpackResult

    with LayerBuilder(host.layout, STUB_KEY, chain_id) as builder:
        files = seen["files"]
        assert isinstance(files, dict)
        for name, text in files.items():
            path = f"{builder.diff}/{name}"
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            with open(path, "wb") as copy:
                copy.write(str(text).encode("latin-1"))
        homes = seen["homes"]
        assert isinstance(homes, dict)
        for home, uid in homes.items():
            path = os.path.normpath(f"{builder.diff}/{home}")
            os.makedirs(path, 0o755, exist_ok=True)
            owners.record(path, owners.Owner(uid, 0), 0o755)
        os.chmod(builder.diff, int(str(seen["mode"])))
        with open(squash.source_path(builder.diff), "wb") as record:
            record.write(squash.source_record(file))
        builder.publish(UnpackResult(chain_id, file.size_bytes, 0, (), ()))


def look(fd: int, file: SquashFile, point: str) -> dict[str, object]:
    """Mount a file in the namespaces of this process and read it. Raises HostError."""
    # Root of the namespace may be a subordinate id, and a directory above, made for a job, of a
    # group that it has not: the namespace is this process's alone, so any place will do.
    if not os.access(point, os.X_OK):
        point = next(path for path in ("/mnt", "/srv", "/usr") if os.path.isdir(path))
    take_away = mount_here(os.dup(fd), file.offset, point)
    try:
        files = {
            name: data.decode("latin-1")
            for name in _ACCOUNTS
            if (data := read_merged([point], name)) is not None
        }
        for path in (_RUNSCRIPT, f"{_ENVIRONMENT}/rpod", _SHELL):
            directory = os.path.dirname(path)
            if os.path.isdir(point + directory) and (
                path.endswith("/rpod") or read_merged([point], path, limit_bytes=1) is not None
            ):
                files[path[1:]] = ""
        homes = owned_homes([point], files.get(_ACCOUNTS[0], "").encode("latin-1"), enough=1)
        return {"mode": os.stat(point).st_mode & 0o7777, "files": files, "homes": homes}
    except OSError as error:
        raise HostError(
            f"read {file.path}: squashfuse cannot: the file is damaged, or has a compression that"
            " it was not built for",
            remedy="make it again",
        ) from error
    finally:
        take_away()


def mount_here(source: int, offset: int, point: str) -> "Callable[[], None]":
    """Mount a squashfs in the namespaces of this process; return what takes it away again."""
    connection = squash.mount_fuse(point)
    server = squash.serve(source, connection, offset)

    def take_away() -> None:
        syscalls.umount2(point, syscalls.MNT_DETACH)
        os.waitpid(server, 0)

    return take_away


def prepare_mount(root: Root) -> "tuple[str, Mount]":
    """Open what a mount of `root` alone needs; return its path, and what mounts it.

    What that returns takes the mount away again. The caller is in a mount namespace of their own.
    """
    source, offset = squash.open_source(root.lower[0]), squash.offset_of(root.lower[0])
    bundle = os.open(os.path.dirname(root.rootfs), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    point = f"/proc/self/fd/{bundle}/{root.name}"

    return point, lambda: mount_here(source, offset, point)


def _unpack(host: Host, file: SquashFile, maps: IdMaps, key: str, chain_id: str) -> None:
    program = find_program("unsquashfs", host.environ)
    if program is None:
        raise HostError(
            f"use {file.path} as an image: it can neither be mounted nor unpacked here",
            remedy=install_command("unsquashfs"),
        )
    from storage.unpack import UnpackResult

    with LayerBuilder(host.layout, key, chain_id) as builder:
        words = [program, "-no-progress", "-quiet", "-force", "-dest", builder.diff]
        words += ["-processors", str(len(os.sched_getaffinity(0)))]
        words += ["-offset", str(file.offset), file.path]
        # As root of a namespace it would insist on owners that a single id cannot give.
        said = run_tool(words) if maps.is_single else run_in_userns(lambda _: run_tool(words), maps)
        if said:
            raise HostError(
                f"unpack {file.path}: {said}", remedy="see whether the file is whole, the disk full"
            )
        builder.publish(UnpackResult(chain_id, file.size_bytes, 0, (), ()))


def _config_of(file: SquashFile, diff: str) -> ImageConfig:
    if file.config:
        return ImageConfig.from_json(parse_json(file.config, file.path), file.path)
    from storage.platform import host_platform

    settings: dict[str, object] = {}
    has_shell = os.path.lexists(diff + _SHELL)
    if os.path.lexists(diff + _RUNSCRIPT):
        settings["Cmd"] = [_RUNSCRIPT]
    elif has_shell:
        settings["Cmd"] = [_SHELL]
    if has_shell and os.path.isdir(diff + _ENVIRONMENT):
        settings["Entrypoint"] = list(_WITH_ENVIRONMENT)
    platform = host_platform()
    document: dict[str, object] = {
        "architecture": platform.architecture,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return ImageConfig.from_json(document, file.path)


def _record(file: SquashFile, chain_id: str, config: ImageConfig) -> ImageRecord:
    if not config.architecture:
        raise UsageError(f"use {file.path} as an image: its configuration has no architecture")
    return ImageRecord(
        image_id=chain_id.removeprefix("sha256:"),
        manifest_digest=chain_id,
        config_digest=chain_id,
        media_type=OCI_MANIFEST,
        diff_ids=(chain_id,),
        chain_ids=(chain_id,),
        layer_digests=(),
        layer_media_types=(),
        size_bytes=file.size_bytes,
        created=config.created,
        architecture=config.architecture,
        os=config.os,
        variant=config.variant,
        labels=config.labels,
        added_at=rfc3339_now(),
        view_digest=chain_id,
        names=(file.path,),
    )
