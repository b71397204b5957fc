"""Mounts of a container: file systems that the kernel makes, files and directories of the host.

The parts of an operation are explained in `rootless.sandbox.operations`.
"""

import errno
import os
import stat

from rootless.linux import syscalls as sc
from rootless.sandbox.copyup import copy_tree, give
from rootless.sandbox.operations import Operation
from rootless.sandbox.targets import open_directory, open_inside, open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FLAGS = {
    "ro": sc.MOUNT_ATTR_RDONLY,
    "rro": sc.MOUNT_ATTR_RDONLY,
    "nosuid": sc.MOUNT_ATTR_NOSUID,
    "nodev": sc.MOUNT_ATTR_NODEV,
    "noexec": sc.MOUNT_ATTR_NOEXEC,
    "noatime": sc.MOUNT_ATTR_NOATIME,
    "strictatime": sc.MOUNT_ATTR_STRICTATIME,
    "nodiratime": sc.MOUNT_ATTR_NODIRATIME,
}
_MOUNT_FLAGS = {
    "ro": sc.MS_RDONLY,
    "nosuid": sc.MS_NOSUID,
    "nodev": sc.MS_NODEV,
    "noexec": sc.MS_NOEXEC,
    "noatime": sc.MS_NOATIME,
    "nodiratime": sc.MS_NODIRATIME,
    "relatime": sc.MS_RELATIME,
    "strictatime": sc.MS_STRICTATIME,
}
_PROPAGATION = {
    "private": sc.MS_PRIVATE,
    "slave": sc.MS_SLAVE,
    "shared": sc.MS_SHARED,
    "unbindable": sc.MS_UNBINDABLE,
}
_RECURSIVE_PROPAGATION = {f"r{name}": flag for name, flag in _PROPAGATION.items()}
# What an optional source may fail with: not there, an unmounted or broken file system.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ESTALE, errno.ENOTCONN)
# Words that say something to rpod or to other runtimes and nothing to the kernel.
_SILENT = {"rw", "bind", "rbind", "defaults", "suid", "dev", "exec", "atime", "diratime", "copyup",
           "optional"}  # fmt: skip


class KernelMount(Operation):
    """Mount a file system that the kernel makes: proc, sysfs, tmpfs, devpts, mqueue, cgroup2."""

    __slots__ = ("copy_up", "data", "flags", "kind", "own_mode", "source", "target", "tolerate")

    def __init__(self, kind: str, source: str, target: str, options: list[str]) -> None:
        self.kind = "cgroup2" if kind == "cgroup" else kind
        self.source = source
        self.target = target
        self.copy_up = "tmpcopyup" in options
        self.own_mode = any(word.startswith("mode=") for word in options)
        self.flags = 0
        words = []
        for word in options:
            if word in _MOUNT_FLAGS:
                self.flags |= _MOUNT_FLAGS[word]
            elif (
                word not in _SILENT
                and word not in ("tmpcopyup", "notmpcopyup")
                and word not in _PROPAGATION
                and word not in _RECURSIVE_PROPAGATION
            ):
                words.append(word)
        self.data = ",".join(words)
        # cgroup v1 hosts, and namespaces nested in a container that hides its own cgroups.
        self.tolerate = (
            (errno.EPERM, errno.EBUSY, errno.EINVAL, errno.ENODEV, errno.ENOENT)
            if self.kind == "cgroup2"
            else ()
        )

    def describe(self) -> str:
        return f"mount {self.kind} on {self.target}"

    def execute(self) -> None:
        try:
            target, made = open_target(self.target, directory=True)
        except OSError as error:
            if error.errno in self.tolerate:
                return
            raise
        # mount(2) has no form that takes a descriptor.
        os.fchdir(target)
        try:
            sc.mount(self.source, ".", self.kind, self.flags, self.data)
        except OSError as error:
            if error.errno not in self.tolerate:
                raise
        os.chdir("/")
        if self.copy_up:
            under = open_directory(target)
            over = open_inside(self.target, os.O_RDONLY | os.O_DIRECTORY)
            # Where the image has nothing it stays the kernel's: for every user, as /tmp.
            copy_tree(under, over, top=not (self.own_mode or made))
            os.close(over)
            os.close(under)
        os.close(target)


class GivenMount(Operation):
    """Show a mount that was made elsewhere: a detached tree, open_tree(2)."""

    __slots__ = ("_fd", "target")

    def __init__(self, fd: int, target: str) -> None:
        self._fd = fd
        self.target = target

    def describe(self) -> str:
        return f"show a mount of another container on {self.target}"

    def execute(self) -> None:
        target, _ = open_target(self.target, directory=True)
        sc.move_mount(self._fd, target)
        os.close(target)
        os.close(self._fd)


class BindMount(Operation):
    """Show a file or directory of the host at a path of the container."""

    __slots__ = (
        "_directory",
        "_fd",
        "copy_up",
        "flags",
        "late",
        "optional",
        "owner",
        "propagation",
        "recursive",
        "recursive_flags",
        "source",
        "target",
    )

    def __init__(
        self, source: str, target: str, options: list[str], *, owner: tuple[int, int] = (0, 0)
    ) -> None:
        self.source = source
        self.target = target
        self.owner = owner
        self.recursive = "bind" not in options or "rbind" in options
        self.copy_up = "copyup" in options
        self.optional = "optional" in options
        self.flags = 0
        self.recursive_flags = 0
        self.propagation = sc.MS_PRIVATE
        for word in options:
            self.flags |= _FLAGS.get(word, 0)
            propagation = _PROPAGATION.get(word) or _RECURSIVE_PROPAGATION.get(word)
            if propagation is not None:
                self.propagation = propagation
        if "rro" in options:
            self.recursive_flags = sc.MOUNT_ATTR_RDONLY
        self.late = False
        self._fd = -1
        self._directory = False

    @property
    def is_readonly(self) -> bool:
        return bool((self.flags | self.recursive_flags) & sc.MOUNT_ATTR_RDONLY)

    def describe(self) -> str:
        return f"bind {self.source} on {self.target}"

    def open(self) -> None:
        flags = sc.OPEN_TREE_CLONE
        try:
            self._fd = sc.open_tree(
                sc.AT_FDCWD, self.source, flags | (sc.AT_RECURSIVE if self.recursive else 0)
            )
        except OSError as error:
            if self.optional and error.errno in _GONE:
                return
            if error.errno != errno.EINVAL or self.recursive:
                raise
            # A mount below is locked to this one (mount_namespaces(7)): only all can be shown.
            self._fd = sc.open_tree(sc.AT_FDCWD, self.source, flags | sc.AT_RECURSIVE)
        self._directory = stat.S_ISDIR(os.fstat(self._fd).st_mode)

    def execute(self) -> None:
        if self._fd < 0:
            return
        target, made = open_target(self.target, directory=self._directory)
        if self.copy_up and self._directory:
            self._fill_volume(target, made=made)
        sc.mount_setattr(
            self._fd,
            "",
            flags=sc.AT_EMPTY_PATH | sc.AT_RECURSIVE,
            set_attributes=self.recursive_flags,
            propagation=self.propagation,
        )
        self._set_own_flags()
        sc.move_mount(self._fd, target)
        os.close(target)
        if not self.late:
            os.close(self._fd)

    def _set_own_flags(self) -> None:
        if not self.flags:
            return
        flags, clear = self.flags, 0
        if flags & (sc.MOUNT_ATTR_NOATIME | sc.MOUNT_ATTR_STRICTATIME):
            clear = sc.MOUNT_ATTR__ATIME
        if self.late:
            flags &= ~sc.MOUNT_ATTR_RDONLY
            self._let_write()
        sc.mount_setattr(
            self._fd, "", flags=sc.AT_EMPTY_PATH, set_attributes=flags, clear_attributes=clear
        )

    def _let_write(self) -> None:
        """Undo, for the top, what `rro` has done to everything."""
        try:
            sc.mount_setattr(
                self._fd, "", flags=sc.AT_EMPTY_PATH, clear_attributes=sc.MOUNT_ATTR_RDONLY
            )
        except OSError as error:
            # EPERM: the host has it read-only, which is locked (mount_namespaces(7)).
            if error.errno != errno.EPERM:
                raise

    def make_readonly(self) -> None:
        """Do what `late` has put off."""
        if self._fd < 0:
            return
        sc.mount_setattr(self._fd, "", flags=sc.AT_EMPTY_PATH, set_attributes=sc.MOUNT_ATTR_RDONLY)
        os.close(self._fd)

    def _fill_volume(self, target: int, *, made: bool) -> None:
        """Copy what the image has there into a volume that is still empty.

        Where the image has nothing, the volume is for the user of the container (podman-run(1)).
        """
        volume = open_directory(self._fd)
        try:
            if os.listdir(volume):
                return
            if made:
                give(volume, *self.owner)
                return
            image = open_directory(target)
            copy_tree(image, volume, top=True)
            os.close(image)
        finally:
            os.close(volume)


class DeviceBind(BindMount):
    """Bind a device node of the host; one that this host lacks is left out if that is allowed."""

    __slots__ = ()

    def __init__(self, source: str, target: str, *, optional: bool, read_only: bool) -> None:
        super().__init__(source, target, ["bind", "ro"] if read_only else ["bind"])
        self.optional = optional


class MakeReadonly(Operation):
    """Make a bind mount read-only once the places below it, for other mounts, have been made."""

    __slots__ = ("_mount",)

    def __init__(self, mount: BindMount) -> None:
        self._mount = mount
        mount.late = True

    def describe(self) -> str:
        return f"make {self._mount.target} read-only"

    def execute(self) -> None:
        self._mount.make_readonly()


def late_readonly(operations: "Sequence[Operation]") -> list[Operation]:
    """Return what makes those mounts read-only on which later ones are mounted."""
    result: list[Operation] = []
    for position, mount in enumerate(operations):
        if not isinstance(mount, BindMount) or not mount.is_readonly:
            continue
        below = mount.target.rstrip("/") + "/"
        for later in operations[position:]:
            if isinstance(later, BindMount | KernelMount) and later.target.startswith(below):
                result.append(MakeReadonly(mount))
                break
    return result
