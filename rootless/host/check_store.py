"""Checks of where things lie: store, run root, and how a root file system is put together."""

import errno
import fcntl
import os

from rootless.errors import RootlessError
from rootless.host import probe
from rootless.host.check import FAIL, OK, WARN, Check
from rootless.host.filesystem import find_file_system
from rootless.host.node import is_stand_in
from rootless.host.paths import Host, home_directory, make_own_store, make_run_root
from rootless.host.programs import find_program, install_command
from storage.errors import StorageError

_LOW_BYTES = 1 << 30
_LOW_INODES = 20000


def check_store(host: Host) -> Check:
    """Make the store, write, lock and rename in it; say what file system it is on."""
    store = host.layout.store
    title = "store"
    try:
        make_own_store(store, host.uid, home_directory(host.uid, host.environ))
        _use_store(host)
    except StorageError as error:
        return Check("store", title, FAIL, store, cause=error.message, fix=error.remedy)
    except OSError as error:
        return Check(
            "store",
            title,
            FAIL,
            store,
            cause=f"{_doing(error)}: {error.strerror}",
            fix="use a directory on a local file system: --root DIR or RPOD_ROOT=DIR",
        )
    kind = find_file_system(store)
    found = f"{store} on {kind.kind}"
    if host.notes and is_stand_in(store, host.layout.shared):
        fix = "use a directory that lasts and that you can write: --root DIR or RPOD_ROOT=DIR"
        return Check("store", title, WARN, found, cause=host.notes[0], fix=fix)
    if kind.is_network:
        return Check(
            "store",
            title,
            WARN,
            found,
            cause="a network file system: small files are slow, other owners may be refused",
            fix=f"export RPOD_ROOT=/var/tmp/rpod-{host.uid}  (any directory on a local disk)",
        )
    space = os.statvfs(store)
    free_bytes = space.f_bavail * space.f_frsize
    if free_bytes < _LOW_BYTES or (space.f_files > 0 and space.f_favail < _LOW_INODES):
        return Check(
            "store",
            title,
            WARN,
            f"{found}, {free_bytes >> 20} MiB and {space.f_favail} inodes free",
            cause="too little room for images",
            fix="rpod rmi images that are not needed, or use another place with RPOD_ROOT=DIR",
        )
    return Check("store", title, OK, f"{found}, {free_bytes >> 30} GiB free")


def _use_store(host: Host) -> None:
    path = f"{host.layout.tmp_dir}/check-{os.getpid()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd)
        os.write(fd, b"x")
        os.fsync(fd)
        os.rename(path, f"{path}.renamed")
        path = f"{path}.renamed"
    finally:
        os.close(fd)
        os.unlink(path)


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        error.add_note("lock a file there")
        raise


def _doing(error: OSError) -> str:
    """Return what was done: flock(2) has no path to name."""
    return (
        "; ".join((*getattr(error, "__notes__", ()), *filter(None, [error.filename]))) or "use it"
    )


def check_run_root(host: Host) -> Check:
    """Make the run root and say why it is where it is."""
    path = host.layout.run_root
    title = "run root"
    try:
        make_run_root(path, host.uid)
    except RootlessError as error:
        return Check("runroot", title, FAIL, path, cause=error.message, fix=error.remedy)
    found = f"{path} ({host.run_root_reason})"
    session = host.environ.get("XDG_RUNTIME_DIR", "")
    if session and path != f"{session}/rpod" and not _is_usable(session, host.uid):
        return Check(
            "runroot",
            title,
            WARN,
            found,
            chosen=path,
            cause=f"XDG_RUNTIME_DIR={session} is missing or not this user's (after su or sudo?)",
            fix="unset XDG_RUNTIME_DIR, or log in properly: su -, sudo -i, machinectl shell",
        )
    return Check("runroot", title, OK, found)


def _is_usable(path: str, uid: int) -> bool:
    try:
        return os.stat(path).st_uid == uid and os.access(path, os.W_OK)
    except OSError:
        return False


def check_overlay(host: Host) -> Check:
    """Mount an overlay on the store and change, delete and replace files in it."""
    title = "native overlay"
    probe.forget(host)
    try:
        problem = probe.try_overlay(host)
    except (RootlessError, StorageError) as error:
        return Check("overlay", title, FAIL, "not tried", cause=error.message, fix=error.remedy)
    if not problem:
        return Check("overlay", title, OK, "works on the store", chosen=_chosen(host, "overlay"))
    kind = find_file_system(host.layout.store)
    fix = "install a newer kernel (5.11 or later), or use fuse-overlayfs"
    if kind.is_network or kind.kind == "overlay":
        fix = f"put the store on a local disk: export RPOD_ROOT=/var/tmp/rpod-{host.uid}"
    elif problem == os.strerror(errno.ENOSPC):
        fix = "free space, or raise fs.mount-max"
    return Check(
        "overlay",
        title,
        WARN,
        "does not work on the store",
        chosen="the next lower rung",
        cause=f"{problem} (store on {kind.kind}, kernel {os.uname().release})",
        fix=fix,
    )


def check_fuse(host: Host, *, needed: bool) -> Check:
    """/dev/fuse and fuse-overlayfs, the rung below native overlay."""
    title = "fuse-overlayfs"
    try:
        problem = probe.try_fuse_overlayfs(host)
    except (RootlessError, StorageError) as error:
        problem = error.message
    if not problem:
        chosen = _chosen(host, "fuse-overlayfs") if needed else ""
        return Check("fuse", title, OK, "works on the store", chosen=chosen)
    if not needed:
        return Check("fuse", title, OK, f"{problem}; not needed, native overlay works")
    if find_program("fuse-overlayfs", host.environ) is None:
        fix = install_command("fuse-overlayfs")
    elif not os.path.exists(probe.FUSE):
        fix = f"sudo modprobe fuse; sudo mknod -m 666 {probe.FUSE} c 10 229"
    else:
        fix = f"sudo chmod 666 {probe.FUSE}"
    return Check(
        "fuse",
        title,
        WARN,
        problem,
        chosen="each container copies its image",
        cause=problem,
        fix=fix,
    )


def _chosen(host: Host, driver: str) -> str:
    configured = host.config.storage_driver
    if configured:
        return driver if configured == driver else f"not used: {configured} is configured"
    return driver
