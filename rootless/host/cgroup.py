"""Which cgroups this user may fill (cgroups(7), systemd's control group delegation)."""

import os

from rootless.host.programs import read_text
from storage.record import NamedTuple

# What --memory, --cpus and --pids-limit need.
WANTED = ("cpu", "memory", "pids")


class Cgroup(NamedTuple):
    """`mode` is v2, hybrid, v1 or none; `directory` is where containers' cgroups may be made.

    `manager` is systemd (a user manager makes scopes), cgroupfs (the directory is the user's own)
    or "" when nothing is delegated; then `controllers` is empty.
    """

    mode: str
    manager: str
    directory: str
    controllers: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The wanted controllers that are not delegated."""
        return tuple(name for name in WANTED if name not in self.controllers)


def find_cgroup(
    uid: int, runtime_directory: str, *, proc: str = "/proc/self", root: str = "/sys/fs/cgroup"
) -> Cgroup:
    """Look at the cgroup file system and at who owns the caller's part of it."""
    mode, mount = _mode(f"{proc}/mountinfo", root)
    if mode in ("none", "v1"):
        return Cgroup(mode, "", "", ())
    manager = f"{mount}/user.slice/user-{uid}.slice/user@{uid}.service"
    if os.path.exists(f"{runtime_directory}/systemd/private") and _is_writable(manager):
        return Cgroup(mode, "systemd", manager, _controllers(manager))
    own = mount + _own_path(f"{proc}/cgroup")
    if _is_writable(own):
        return Cgroup(mode, "cgroupfs", own, _controllers(own))
    return Cgroup(mode, "", "", ())


def _mode(mountinfo: str, root: str) -> tuple[str, str]:
    legacy = False
    unified = ""
    for line in read_text(mountinfo).splitlines():
        # proc(5): id parent dev root MOUNT-POINT options... - TYPE source options
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.partition(" ")[0]
        if kind == "cgroup2":
            unified = unified if unified == root else fields[4]
        elif kind == "cgroup":
            legacy = True
    if unified == root:
        return "v2", unified
    if unified:
        return "hybrid", unified
    return ("v1" if legacy else "none"), ""


def _own_path(file: str) -> str:
    for line in read_text(file).splitlines():
        if line.startswith("0::"):
            return line[3:].rstrip("/")
    return ""


def _is_writable(directory: str) -> bool:
    return all(
        os.access(path, os.W_OK, effective_ids=True)
        for path in (directory, f"{directory}/cgroup.procs", f"{directory}/cgroup.subtree_control")
    )


def _controllers(directory: str) -> tuple[str, ...]:
    return tuple(read_text(f"{directory}/cgroup.controllers").split())
