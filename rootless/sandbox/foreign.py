"""Let a container execute programs of another architecture: a binfmt_misc of its own."""

import os

from rootless.linux import syscalls as sc
from rootless.sandbox.operations import Operation
from rootless.sandbox.targets import open_target

_PLACE = "/proc/sys/fs/binfmt_misc"
_ATTRIBUTES = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC


class ForeignPrograms(Operation):
    """Register an emulator in the container's user namespace; it holds as long as the mount.

    Kernels before 6.7 refuse, and so does one without binfmt_misc: then a program of the other
    architecture is not executed, and that error says what to do.
    """

    __slots__ = ("_mount", "rule")

    def __init__(self, rule: bytes) -> None:
        self.rule = rule
        self._mount = -1

    def describe(self) -> str:
        return (
            "register " + self.rule.decode(errors="replace").rpartition(":")[0].rpartition(":")[2]
        )

    def open(self) -> None:
        # While the emulator can still be reached by its path on the host.
        mount = -1
        try:
            context = sc.fsopen("binfmt_misc")
            try:
                sc.fsconfig(context, sc.FSCONFIG_CMD_CREATE)
                mount = sc.fsmount(context, _ATTRIBUTES)
            finally:
                os.close(context)
            register = os.open("register", os.O_WRONLY | os.O_CLOEXEC, dir_fd=mount)
            try:
                os.write(register, self.rule)
            finally:
                os.close(register)
        except OSError:
            if mount >= 0:
                os.close(mount)
            return
        self._mount = mount

    def execute(self) -> None:
        if self._mount < 0:
            return
        sc.mount_setattr(
            self._mount, "", flags=sc.AT_EMPTY_PATH, set_attributes=sc.MOUNT_ATTR_RDONLY
        )
        target, _ = open_target(_PLACE, directory=True)
        sc.move_mount(self._mount, target)
        os.close(target)
        os.close(self._mount)
