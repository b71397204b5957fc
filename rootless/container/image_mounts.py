"""`image mount`: an image's root file system, read-only, inside `rpod unshare`.

A regular user may mount only in a user namespace, and such a mount is seen only there; it ends with
the namespace at the latest. The namespace's own id map says which unpacked layers are meant.
"""

import os

from rootless.errors import HostError
from rootless.host.paths import Host
from rootless.linux import syscalls as sc
from rootless.sandbox.root import mount_overlay
from storage import event_log
from storage.images import ImageRecord, find_image
from storage.layers import map_key

_DIRECTORY = "image-mounts"
_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ALL_IDS = 0xFFFFFFFF


def is_unshared(*, proc: str = "/proc/self") -> bool:
    """Tell whether the caller is root of a user namespace."""
    return os.geteuid() == 0 and _rows(f"{proc}/uid_map") != ((0, 0, _ALL_IDS),)


def check_unshared(what: str, *, proc: str = "/proc/self") -> None:
    """Refuse what only root of a user namespace may do. Raises HostError."""
    if not is_unshared(proc=proc):
        raise HostError(
            f'cannot run command "rpod {what}" in rootless mode, must execute `rpod unshare` first',
            remedy=f"rpod unshare rpod {what}",
        )


def _rows(path: str) -> tuple[tuple[int, int, int], ...]:
    with open(path, encoding="ascii") as file:
        rows = [[int(word) for word in line.split()] for line in file]
    return tuple((inside, outside, count) for inside, outside, count in rows)


def mount_image(host: Host, name: str) -> str:
    """Mount an image and return where; a second time it is the same place.

    Raises ImageNotFound, HostError, BlobMissing, StoreUnusable.
    """
    from storage.unpacking import ensure_layers

    record = find_image(host.layout, name)
    target = _target(host, record.image_id)
    if record.image_id in mounted_images(host):
        return target
    key = map_key(_rows("/proc/self/uid_map"), _rows("/proc/self/gid_map"))
    ensure_layers(host.layout, key, record)
    os.makedirs(target, mode=0o700, exist_ok=True)
    layers = [host.layout.layer_diff(key, chain_id) for chain_id in reversed(record.chain_ids)]
    try:
        _mount(layers, target)
    except OSError as error:
        os.rmdir(target)
        raise HostError(
            f"mount image {name} on {target}: {error.strerror}",
            remedy="`rpod doctor` says whether this host can mount overlays",
        ) from error
    event_log.image_event(
        host.layout.run_root, "mount", image_id=record.image_id, name=_name(record)
    )
    return target


def _name(record: ImageRecord) -> str:
    return record.names[0] if record.names else record.image_id


def _mount(layers: list[str], target: str) -> None:
    if len(layers) == 1:
        # An overlay of nothing but one lower directory is refused by the kernel.
        sc.mount(layers[0], target, "", sc.MS_BIND)
        sc.mount_setattr(sc.AT_FDCWD, target, set_attributes=sc.MOUNT_ATTR_RDONLY)
        return
    fds = [os.open(layer, _FLAGS) for layer in layers]
    try:
        # Names by descriptors: those of a hundred layers would not fit in mount(2)'s page.
        mount_overlay(target, [f"/proc/self/fd/{fd}" for fd in fds], read_only=True)
    finally:
        for fd in fds:
            os.close(fd)


def unmount_image(host: Host, record: ImageRecord, *, force: bool = False) -> bool:
    """Unmount an image; False when it was not mounted. Raises HostError."""
    if record.image_id not in mounted_images(host):
        return False
    target = _target(host, record.image_id)
    try:
        sc.umount2(target, sc.MNT_DETACH if force else 0)
    except OSError as error:
        raise HostError(
            f"unmount {target}: {error.strerror}", remedy="leave the directory, or use --force"
        ) from error
    os.rmdir(target)
    event_log.image_event(
        host.layout.run_root, "unmount", image_id=record.image_id, name=_name(record)
    )
    return True


def mounted_images(host: Host, *, mountinfo: str = "/proc/self/mountinfo") -> dict[str, str]:
    """Return the mounted images of this namespace: where each is, by its id."""
    prefix = _target(host, "")
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        # proc(5): the fifth word is the mount point, blanks in it escaped.
        points = [line.split(" ")[4].replace("\\040", " ") for line in file]
    return {point.removeprefix(prefix): point for point in points if point.startswith(prefix)}


def _target(host: Host, image_id: str) -> str:
    return f"{os.path.realpath(host.layout.run_root)}/{_DIRECTORY}/{image_id}"
