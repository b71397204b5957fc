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
from rootless.sandbox.targets import StepError, open_directory, open_inside, open_target


class Operation:
    """One step; the parts that an operation does not need do nothing."""

    __slots__ = ()

    def describe(self) -> str:
        raise AssertionError(type(self))

    def open(self) -> None:
        return

    def execute(self) -> None:
        return


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


class Link(Operation):
    """Make a symbolic link, with the directories on the way; what is there makes way.

    Only a link or a plain file of the image is replaced, in the container's own layer.
    """

    __slots__ = ("path", "target")

    def __init__(self, target: str, path: str) -> None:
        self.target = target
        self.path = path

    def describe(self) -> str:
        return f"link {self.path} -> {self.target}"

    def execute(self) -> None:
        directory, _, name = self.path.rpartition("/")
        parent, _ = open_target(directory or "/", directory=True)
        try:
            if os.fstat(parent).st_dev != os.stat("/").st_dev:
                # The image, or a mount, leads out of the container's own files.
                raise StepError(self.describe(), self.path, errno.EXDEV)
            try:
                os.symlink(self.target, name, dir_fd=parent)
            except FileExistsError:
                os.unlink(name, dir_fd=parent)
                os.symlink(self.target, name, dir_fd=parent)
        finally:
            os.close(parent)


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
