"""`mount` and `unmount`: a container's root file system inside `rpod unshare`.

Nothing is mounted in the host's mount namespace: the mount is seen in that session only, and ends
with it. The root of a container that does not run is mounted as a start would, from the same
directories; that of a running one is a copy of its own mount, which its monitor hands out. While a
root is mounted the container cannot be started: `rootless.container.mounted`.
"""

import os

from rootless.container.image_mounts import check_unshared
from rootless.container.inside import Inside
from rootless.container.mounted import mount_point, mount_points, set_mark
from rootless.container.rootfs import make_root
from rootless.errors import ContainerStateError, HostError, UsageError
from rootless.host.paths import Host
from rootless.linux import syscalls
from rootless.sandbox.drivers import COPY, MOUNTED_FROM_OUTSIDE, OVERLAY
from rootless.sandbox.root import Root
from rootless.sandbox.targets import StepError
from storage import event_log
from storage.containers import ContainerView, find_container, iter_views

_KINDS = (OVERLAY, *MOUNTED_FROM_OUTSIDE)
_ALIVE = ("running", "paused", "stopping")
_TRIES = 5


def mount_container(host: Host, text: str) -> str:
    """Mount the root of a container and return where; a second time it is the same place.

    Raises ContainerNotFound, HostError, ContainerStateError, UsageError.
    """
    check_unshared("mount")
    host.one_id_is_enough = True  # the map is that of the session; it is of no use here
    for _ in range(_TRIES):
        found = find_container(host.layout, text)
        try:
            return _mount(host, found)
        except ContainerStateError:
            if find_container(host.layout, found.record.id).status == found.status:
                raise
    raise ContainerStateError(
        f"mount container {text}: it is started and ends too often", remedy="stop it first"
    )


def _mount(host: Host, found: ContainerView) -> str:
    request = found.record.request
    if request.get("rootfs") and not request.get("rootfs_kind"):
        raise UsageError(
            f"mount container {found.record.name}: its root is a copy of the host's directories"
            " that only `rpod shell` puts together"
        )
    target = mount_point(found.paths)
    if target in mount_points():
        return target
    if found.status in _ALIVE:
        _mount_running(found, target)
    else:
        with Inside(host, found.record.id) as inside:
            found = inside.found
            if found.status in _ALIVE:
                _mount_running(found, target)
            else:
                root = make_root(host, found)
                if root.driver not in _KINDS:
                    # A directory that is the root as it is: nothing has to be mounted.
                    return root.rootfs if root.driver != COPY else target
                set_mark(found.paths)
                _mount_idle(root, found)
    event_log.container_event(host.layout.run_root, "mount", record=found.record)
    return target


def _mount_idle(root: Root, found: ContainerView) -> None:
    name = found.record.name
    try:
        root.open()
        if root.driver in MOUNTED_FROM_OUTSIDE:
            from rootless.container import fuse

            os.close(fuse.mount(root, fuse.Namespaces(os.getpid())))
        os.close(root.mount())
    except StepError as error:
        raise HostError(
            f"mount container {name}: {error.step} {error.path}: {os.strerror(error.number)}",
            remedy="`rpod doctor` says whether this host can mount overlays",
        ) from error
    except OSError as error:
        raise HostError(f"mount container {name}: {error.strerror}") from error


def _mount_running(found: ContainerView, target: str) -> None:
    from rootless.container.root_lending import borrow

    name = found.record.name
    try:
        set_mark(found.paths)
        tree = borrow(found.paths.run_dir)
    except OSError as error:
        remedy = ""
        if isinstance(error, TimeoutError):
            remedy = "a container that was started by an older rpod has to be started again"
        raise ContainerStateError(
            f"mount the running container {name}: ask its monitor: {error.strerror or error}",
            remedy=remedy,
        ) from error
    try:
        place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.move_mount(tree, place)
        finally:
            os.close(place)
        set_mark(found.paths)  # it may have ended and been looked at meanwhile
    except OSError as error:
        raise HostError(f"mount container {name} on {target}: {error.strerror}") from error
    finally:
        os.close(tree)


def unmount_container(host: Host, text: str, *, force: bool = False) -> bool:
    """Unmount the root of a container; False when this session has not mounted it.

    Raises ContainerNotFound, HostError.
    """
    found = find_container(host.layout, text)
    target = mount_point(found.paths)
    if target not in mount_points():
        return False
    try:
        syscalls.umount2(target, syscalls.MNT_DETACH if force else 0)
    except OSError as error:
        raise HostError(
            f"unmount {target}: {error.strerror}", remedy="leave the directory, or use --force"
        ) from error
    event_log.container_event(host.layout.run_root, "unmount", record=found.record)
    return True


def mounted_containers(host: Host) -> list[tuple[ContainerView, str]]:
    """Return the containers whose roots this session has mounted, and where."""
    points = set(mount_points())
    views = sorted(iter_views(host.layout), key=lambda one: one.record.id)
    places = [(one, mount_point(one.paths)) for one in views]
    return [(one, place) for one, place in places if place in points]
