"""What the child does to build a container's root: small operations, decided before the fork.

Each has three parts. `describe()` is one line for the debug log. `open()` runs first, with the
caller's own credentials and the host's root, and opens what lies on the host. `execute()` runs
with the container's root file system as root directory (chroot), so every path is resolved by the
kernel inside it, and through `rootless.sandbox.targets`: a link in a hostile image leads nowhere
else. Nothing here imports at run time.
"""

import errno
import os
import stat

from rootless.linux import syscalls as sc
from rootless.sandbox.copyup import copy_tree
from rootless.sandbox.targets import StepError, open_directory, open_inside, open_target

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
# Words that say something to rpod or to other runtimes and nothing to the kernel.
_SILENT = {"rw", "bind", "rbind", "defaults", "suid", "dev", "exec", "atime", "diratime", "copyup"}


class Operation:
    """One step; the parts that an operation does not need do nothing."""

    __slots__ = ()

    def describe(self) -> str:
        raise AssertionError(type(self))

    def open(self) -> None:
        return

    def execute(self) -> None:
        return


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
            target, _ = open_target(self.target, directory=True)
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
            copy_tree(under, over, top=not self.own_mode)
            os.close(over)
            os.close(under)
        os.close(target)


class BindMount(Operation):
    """Show a file or directory of the host at a path of the container."""

    __slots__ = (
        "_directory",
        "_fd",
        "copy_up",
        "flags",
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
        self._fd = -1
        self._directory = False

    def describe(self) -> str:
        return f"bind {self.source} on {self.target}"

    def open(self) -> None:
        flags = sc.OPEN_TREE_CLONE
        try:
            self._fd = sc.open_tree(
                sc.AT_FDCWD, self.source, flags | (sc.AT_RECURSIVE if self.recursive else 0)
            )
        except OSError as error:
            if error.errno != errno.EINVAL or self.recursive:
                raise
            # A mount below is locked to this one (mount_namespaces(7)): only all can be shown.
            self._fd = sc.open_tree(sc.AT_FDCWD, self.source, flags | sc.AT_RECURSIVE)
        self._directory = stat.S_ISDIR(os.fstat(self._fd).st_mode)

    def execute(self) -> None:
        target, made = open_target(self.target, directory=self._directory)
        if self.copy_up and self._directory:
            self._fill_volume(target, made=made)
        recursive = sc.AT_EMPTY_PATH | sc.AT_RECURSIVE
        sc.mount_setattr(
            self._fd,
            "",
            flags=recursive,
            set_attributes=self.recursive_flags,
            propagation=self.propagation,
        )
        if self.flags:
            clear = (
                sc.MOUNT_ATTR__ATIME
                if self.flags & (sc.MOUNT_ATTR_NOATIME | sc.MOUNT_ATTR_STRICTATIME)
                else 0
            )
            sc.mount_setattr(
                self._fd,
                "",
                flags=sc.AT_EMPTY_PATH,
                set_attributes=self.flags,
                clear_attributes=clear,
            )
        sc.move_mount(self._fd, target)
        os.close(self._fd)
        os.close(target)

    def _fill_volume(self, target: int, *, made: bool) -> None:
        """Copy what the image has there into a volume that is still empty.

        Where the image has nothing, the volume is for the user of the container (podman-run(1)).
        """
        volume = open_directory(self._fd)
        try:
            if os.listdir(volume):
                return
            if made:
                os.fchown(volume, *self.owner)
                return
            image = open_directory(target)
            copy_tree(image, volume, top=True)
            os.close(image)
        finally:
            os.close(volume)


class DeviceBind(BindMount):
    """Bind a device node of the host; one that this host lacks is left out if that is allowed."""

    __slots__ = ("optional",)

    def __init__(self, source: str, target: str, *, optional: bool, read_only: bool) -> None:
        super().__init__(source, target, ["bind", "ro"] if read_only else ["bind"])
        self.optional = optional

    def open(self) -> None:
        try:
            super().open()
        except FileNotFoundError:
            if not self.optional:
                raise

    def execute(self) -> None:
        if self._fd >= 0:
            super().execute()


class Symlink(Operation):
    __slots__ = ("path", "target")

    def __init__(self, target: str, path: str) -> None:
        self.target = target
        self.path = path

    def describe(self) -> str:
        return f"link {self.path} -> {self.target}"

    def execute(self) -> None:
        try:
            os.symlink(self.target, self.path)
        except FileExistsError:
            return


class MaskPaths(Operation):
    """Cover files with /dev/null and directories with one empty read-only tmpfs."""

    __slots__ = ("paths",)

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def describe(self) -> str:
        return "mask " + " ".join(self.paths)

    def execute(self) -> None:
        empty = -1
        for path in self.paths:
            try:
                target = open_inside(path)
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                continue
            if not stat.S_ISDIR(os.fstat(target).st_mode):
                null = sc.open_tree(sc.AT_FDCWD, "/dev/null", sc.OPEN_TREE_CLONE)
                sc.move_mount(null, target)
                os.close(null)
            elif empty < 0:
                os.fchdir(target)
                sc.mount("tmpfs", ".", "tmpfs", sc.MS_RDONLY, "size=0k")
                os.chdir("/")
                empty = open_inside(path)
            else:
                cover = sc.open_tree(empty, "", sc.OPEN_TREE_CLONE | sc.AT_EMPTY_PATH)
                sc.move_mount(cover, target)
                os.close(cover)
            os.close(target)
        if empty >= 0:
            os.close(empty)


class ReadonlyPaths(Operation):
    """Bind each path over itself, read-only with everything below."""

    __slots__ = ("paths",)

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def describe(self) -> str:
        return "read-only " + " ".join(self.paths)

    def execute(self) -> None:
        for path in self.paths:
            try:
                target = open_inside(path)
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                continue
            clone = sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE | sc.AT_EMPTY_PATH
            fd = sc.open_tree(target, "", clone)
            sc.mount_setattr(
                fd,
                "",
                flags=sc.AT_EMPTY_PATH | sc.AT_RECURSIVE,
                set_attributes=sc.MOUNT_ATTR_RDONLY,
            )
            sc.move_mount(fd, target)
            os.close(fd)
            os.close(target)


class ReadonlyRoot(Operation):
    __slots__ = ()

    def describe(self) -> str:
        return "make / read-only"

    def execute(self) -> None:
        sc.mount_setattr(sc.AT_FDCWD, "/", set_attributes=sc.MOUNT_ATTR_RDONLY)


class Sysctl(Operation):
    __slots__ = ("must", "name", "value")

    def __init__(self, name: str, value: str, *, must: bool) -> None:
        self.name = name
        self.value = value
        self.must = must

    def describe(self) -> str:
        return f"sysctl {self.name}={self.value}"

    def execute(self) -> None:
        path = "/proc/sys/" + self.name.replace(".", "/")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, self.value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            # Defaults of ours are a courtesy: an id that is not mapped, a kernel without the key.
            if self.must:
                raise StepError(f"set sysctl {self.name}", path, error.errno or 0) from error


class Hostname(Operation):
    __slots__ = ("domain", "name")

    def __init__(self, name: str, domain: str) -> None:
        self.name = name
        self.domain = domain

    def describe(self) -> str:
        return f"hostname {self.name}"

    def execute(self) -> None:
        if self.name:
            sc.sethostname(self.name)
        if self.domain:
            sc.setdomainname(self.domain)


class LoopbackUp(Operation):
    __slots__ = ()

    def describe(self) -> str:
        return "set lo up"

    def execute(self) -> None:
        sc.bring_up_interface("lo")


class WorkingDirectory(Operation):
    """Make the working directory as docker does: missing parts belong to root."""

    __slots__ = ("gid", "path", "uid")

    def __init__(self, path: str, uid: int, gid: int) -> None:
        self.path = path
        self.uid = uid
        self.gid = gid

    def describe(self) -> str:
        return f"working directory {self.path}"

    def execute(self) -> None:
        try:
            fd, made = open_target(self.path, directory=True)
        except StepError as error:
            raise StepError("use as working directory", self.path, error.number) from error
        if made:
            directory = open_directory(fd)
            os.fchown(directory, self.uid, self.gid)
            os.close(directory)
        os.close(fd)
