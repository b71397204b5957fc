"""The container's root file system: how it is mounted on `rootfs`, and how the child enters it.

All paths are opened while the child still has the caller's host id, and used through
/proc/self/fd afterwards: an id of a subordinate range may not walk through the caller's home, and
127 names of 70 bytes would not fit in the page that mount(2) takes.
"""

import errno
import os

from rootless.linux import syscalls as sc
from rootless.sandbox.drivers import COPY, OVERLAY, SQUASH
from rootless.sandbox.targets import StepError

PLAIN = "plain"


_OPTIONS_LIMIT = 4094


class Root:
    """Where the parts of a root file system lie on the host. `lower` is top layer first."""

    __slots__ = ("_bundle", "_fds", "driver", "lower", "mapping", "name", "rootfs", "upper", "work")

    def __init__(self, driver: str, rootfs: str, lower: list[str], upper: str, work: str) -> None:
        self.driver = driver
        self.rootfs = rootfs
        self.lower = lower
        self.upper = upper
        self.work = work
        self.mapping = ""
        self.name = os.path.basename(rootfs)
        self._bundle = -1
        self._fds: list[int] = []

    def describe(self) -> str:
        return f"{self.driver} of {len(self.lower)} layers on {self.rootfs}"

    def open(self) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self._bundle = os.open(os.path.dirname(self.rootfs), flags)
        self._fds = [os.open(self.rootfs, flags)]
        if self.driver == OVERLAY:
            writable = (self.upper, self.work) if self.upper else ()
            self._fds += [os.open(path, flags) for path in (*writable, *self.lower)]
        elif self.driver == SQUASH:
            self._fds += [os.open(path, flags) for path in (self.upper, self.work)]

    def mount(self) -> int:
        """Mount the root and return a descriptor of its top directory."""
        if self.driver == SQUASH:
            # The squashfs has been mounted on `rootfs` from outside; the overlay goes on top of it.
            self._fds[0] = self._open_top()
            self._fds.append(self._fds[0])
        rootfs, *parts = (f"/proc/self/fd/{fd}" for fd in self._fds)
        if self.driver in (OVERLAY, SQUASH):
            upper, work, *lower = parts if self.upper else ("", "", *parts)
            try:
                mount_overlay(rootfs, lower, upper=upper, work=work, read_only=not self.upper)
            except OSError as error:
                step = "mount overlay"
                if error.errno == errno.E2BIG:
                    step = f"mount overlay: {len(lower)} layers are too many for this kernel"
                raise StepError(step, self.rootfs, error.errno or 0) from error
        elif self.driver in (COPY, PLAIN):
            clone = sc.open_tree(
                self._fds[0], "", sc.OPEN_TREE_CLONE | sc.AT_EMPTY_PATH | sc.AT_RECURSIVE
            )
            sc.move_mount(clone, self._fds[0])
            os.close(clone)
        # fuse-overlayfs has been mounted here by a process that joined this namespace.
        for fd in set(self._fds):
            os.close(fd)
        return self._open_top()

    def _open_top(self) -> int:
        """Open the directory `rootfs`, with what has been mounted on it."""
        return os.open(self.name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._bundle)


def mount_overlay(
    target: str, lower: "list[str]", *, upper: str = "", work: str = "", read_only: bool = False
) -> None:
    """Mount an overlay on `target`; `lower` begins with the highest layer.

    mount(2) takes one page of options, enough for some 180 layers named by descriptors. With
    `lowerdir+` (Linux 6.8, filesystems/overlayfs.rst) each layer is an option of its own, and the
    kernel takes 500. userxattr: the only form that keeps its marks without privilege. Raises
    OSError, E2BIG where the kernel cannot take so many layers.
    """
    places = f",upperdir={upper},workdir={work}" if upper else ""
    options = f"userxattr{places},lowerdir={':'.join(lower)}"
    if len(options) <= _OPTIONS_LIMIT:
        sc.mount("overlay", target, "overlay", sc.MS_RDONLY if read_only else 0, options)
        return
    context = sc.fsopen("overlay")
    try:
        sc.fsconfig(context, sc.FSCONFIG_SET_FLAG, "userxattr")
        if upper:
            sc.fsconfig(context, sc.FSCONFIG_SET_STRING, "upperdir", upper)
            sc.fsconfig(context, sc.FSCONFIG_SET_STRING, "workdir", work)
        for layer in lower:
            sc.fsconfig(context, sc.FSCONFIG_SET_STRING, "lowerdir+", layer)
        sc.fsconfig(context, sc.FSCONFIG_CMD_CREATE)
        tree = sc.fsmount(context, sc.MOUNT_ATTR_RDONLY if read_only else 0)
    except OSError as error:
        # EINVAL: no `lowerdir+` before Linux 6.8, or more layers than it takes.
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG)) from error
        raise
    finally:
        os.close(context)
    try:
        place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sc.move_mount(tree, place)
        finally:
            os.close(place)
    finally:
        os.close(tree)


def enter(root_fd: int) -> int:
    """Make the new root the root directory of path look-ups; return the way back."""
    host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root_fd)
    os.chroot(".")
    return host


def leave_host(host: int, root_fd: int) -> None:
    """Pivot into the new root and let go of the old one for good.

    The chroot is left first: pivot_root(2) wants the old root to be a mount. With both arguments
    "." the old root is stacked over the new one for a moment and detached from there.
    """
    os.fchdir(host)
    os.chroot(".")
    os.fchdir(root_fd)
    sc.pivot_root(".", ".")
    os.fchdir(host)
    # Nothing of what happens to the old mounts may be seen on the host.
    sc.mount("", ".", "", sc.MS_REC | sc.MS_SLAVE)
    sc.umount2(".", sc.MNT_DETACH)
    os.chdir("/")
    os.close(host)
    os.close(root_fd)
