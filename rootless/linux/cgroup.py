"""The cgroup v2 file system: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.

A cgroup is its directory. Everything here works on directories that the caller may write.
"""

import errno
import os
import time

_POLL_S = 0.005
_READ_BYTES = 1 << 16


def read(path: str) -> str:
    """Return a file's text without the last newline. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _READ_BYTES).decode(errors="replace").rstrip("\n")
    finally:
        os.close(fd)


def read_or_empty(path: str) -> str:
    """Return a file's text, "" when it cannot be read: gone, or a controller that is not there."""
    try:
        return read(path)
    except OSError:
        return ""


def write(path: str, text: str) -> None:
    """Write in one call, as the kernel wants it. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def own_path(pid: int | str = "self", proc: str = "/proc") -> str:
    """Return the path of a process's cgroup below the mount; "" without cgroup v2."""
    for line in read_or_empty(f"{proc}/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:].rstrip("/")
    return ""


def mount_point(root: str = "/sys/fs/cgroup") -> str:
    """Return where cgroup v2 is mounted: `root`, or below it on a hybrid host; "" if nowhere."""
    for path in (root, f"{root}/unified"):
        if os.path.exists(f"{path}/cgroup.controllers"):
            return path
    return ""


def controllers(directory: str) -> tuple[str, ...]:
    """Return the controllers that the directory has."""
    return tuple(read_or_empty(f"{directory}/cgroup.controllers").split())


def enabled(directory: str) -> tuple[str, ...]:
    """Return the controllers that the children have."""
    return tuple(read_or_empty(f"{directory}/cgroup.subtree_control").split())


def is_ours(directory: str) -> bool:
    """Whether the caller may make cgroups in it and move processes within: it is delegated."""
    return all(
        os.access(path, os.W_OK, effective_ids=True)
        for path in (directory, f"{directory}/cgroup.procs", f"{directory}/cgroup.subtree_control")
    )


def enable(directory: str, wanted: "tuple[str, ...]") -> tuple[str, ...]:
    """Give the children what can be given of `wanted`; return what they have now.

    EBUSY: processes are in the directory itself; EACCES, EPERM: it is not ours; ENOENT, EINVAL:
    no such controller, or one that this kernel cannot share.
    """
    missing = set(wanted) & set(controllers(directory)) - set(enabled(directory))
    if missing:
        text = " ".join(f"+{name}" for name in sorted(missing))
        try:
            write(f"{directory}/cgroup.subtree_control", text)
        except OSError:
            for name in sorted(missing):
                try:
                    write(f"{directory}/cgroup.subtree_control", f"+{name}")
                except OSError as error:
                    if error.errno not in (
                        errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EINVAL,
                        errno.EOPNOTSUPP, errno.EROFS,
                    ):  # fmt: skip
                        raise
    return enabled(directory)


def move(directory: str, pid: int) -> None:
    """Move a process, 0 for this one. Raises OSError."""
    write(f"{directory}/cgroup.procs", str(pid))


def kill(directory: str) -> bool:
    """End every process in it and below, frozen ones too; false where the kernel cannot (5.14)."""
    try:
        write(f"{directory}/cgroup.kill", "1")
    except OSError:
        return False
    return True


def freeze(directory: str, *, frozen: bool, timeout_s: float = 10.0) -> bool:
    """Stop or continue every process in it; false when not all have stopped in time.

    Raises OSError.
    """
    write(f"{directory}/cgroup.freeze", "1" if frozen else "0")
    deadline_s = time.monotonic() + timeout_s
    wanted = "1" if frozen else "0"
    while counters(f"{directory}/cgroup.events").get("frozen") != int(wanted):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def counters(path: str) -> dict[str, int]:
    """Read a file of lines NAME NUMBER; {} when it is not there."""
    result = {}
    for line in read_or_empty(path).splitlines():
        name, _, value = line.partition(" ")
        if value.isdecimal():
            result[name] = int(value)
    return result


def remove(directory: str, timeout_s: float = 2.0) -> bool:
    """Remove a cgroup with what was made in it, when its processes have gone."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        for path, _, _ in os.walk(directory, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                continue  # EBUSY: its last processes are being reaped; ENOENT: somebody was first
        if not os.path.exists(directory):
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
