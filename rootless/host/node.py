"""Where a store lies whose home is no local file system: blobs there, what changes on this node.

Loaded by the first command of a boot, and by every one of a user for whom the answer is "there".
Whether a file system will do is found out by doing: attributes, locks, links, renames, modes. By
its name alone only what machines share is told, as a store may be changed from one machine only.

The shared part is an additional store (`storage.shared`) with two more directories: `leases/`, and
`nodes/`, where each boot of each machine notes which directory of its own it has taken.
"""

import errno
import fcntl
import os
import stat
import time

from rootless.config import Config
from rootless.errors import HostError
from rootless.host.filesystem import find_file_system
from rootless.host.programs import read_text
from storage.digest import short_hash
from storage.files import is_store, write_file
from storage.layout import Layout
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Many machines may have these mounted; of fuse.*, 9p and virtiofs only trying tells.
_SHARED_KINDS = (
    "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "orangefs", "panfs", "smb3", "smbfs", "wekafs",
)  # fmt: skip
# Directories that batch systems make for a job, on the node's own disk.
_JOB_DIRECTORIES = ("SLURM_TMPDIR", "PBS_JOBFS", "JOB_TMPDIR", "LSF_TMPDIR", "TMPDIR")
_LEAST_FREE_BYTES = 64 << 20
_MEMORY_AGE_S = 60 * 24 * 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Place(NamedTuple):
    """`store` is where things change; `shared` where images are kept, empty if that is the same.

    `additional` is a store that can only be read; `notes` are lines for the user.
    """

    store: str
    shared: str = ""
    additional: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_place(
    store: str,
    config: Config,
    environ: "Mapping[str, str]",
    *,
    uid: int,
    boot: str,
    explicit: bool,
    prepare: bool,
) -> Place:
    """Decide where the store's parts lie; `store` is empty for an account without a home.

    An `explicit` store has been named by the user: it is used, or an error. Without `prepare`
    nothing is made. Raises HostError when there is no directory for what changes.
    """
    problem = _make(store, prepare=prepare) if store else "this account has no home directory"
    if problem:
        return _without_home(store, problem, config, environ, uid, explicit=explicit)
    memory = f"{store}/nodes/{boot}"
    known = read_text(memory).rstrip("\n")
    if known and _is_own(known, uid):
        return Place(known, store)
    if not config.node_root:
        why = why_not_local(store) if prepare else ""
        if not why:
            return Place(store)
    try:
        node, notes = choose_node(store, config, environ, uid)
    except HostError:
        if config.node_root:
            raise
        # Nothing better is to be had: what works there works.
        return Place(store)
    _remember(store, memory, node)
    return Place(node, store, (), notes)


def _make(store: str, *, prepare: bool) -> str:
    """Make the directory of the store; return why it cannot be written, or ""."""
    try:
        if prepare:
            os.makedirs(store, mode=0o700, exist_ok=True)
        elif not os.path.lexists(store):
            return _why_not_made(store)
    except OSError as error:
        return f"{error.filename} cannot be made: {error.strerror}"
    if os.stat(store).st_uid == os.geteuid() and not os.access(store, os.W_OK | os.X_OK):
        return f"{store} cannot be written"
    return ""


def _why_not_made(path: str) -> str:
    """Return why a directory that is not there could not be made, or "", without making it."""
    while not os.path.lexists(above := os.path.dirname(path)):
        path = above
    if os.access(above, os.W_OK | os.X_OK):
        return ""
    is_read_only = os.statvfs(above).f_flag & os.ST_RDONLY
    return f"{path} cannot be made: {os.strerror(errno.EROFS if is_read_only else errno.EACCES)}"


def _without_home(
    store: str,
    problem: str,
    config: Config,
    environ: "Mapping[str, str]",
    uid: int,
    *,
    explicit: bool,
) -> Place:
    """Keep everything on the node where a home is missing, full or read-only."""
    if explicit:
        return Place(store)  # its own error says what is wrong
    node, notes = choose_node(store, config, environ, uid)
    text = f"{problem}: images and containers are kept in {node}, for as long as that lasts"
    return Place(node, "", (store,) if store and is_store(store) else (), (text, *notes))


def is_stand_in(store: str, shared: str) -> bool:
    """Whether a directory of this node is all that there is, as home cannot be written."""
    return not shared and f"/rpod-node-{os.geteuid()}/" in store


def why_not_local(store: str) -> str:
    """Return what makes a directory unfit for what changes, or ""."""
    kind = find_file_system(store).kind
    if kind in _SHARED_KINDS:
        return f"{kind} is shared between machines"
    path = f"{store}/.probe-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        return _exercise(path)
    finally:
        _remove(path)


def _exercise(path: str) -> str:
    step = "make a directory"
    try:
        os.mkdir(path, 0o700)
        if stat.S_IMODE(os.stat(path).st_mode) != 0o700:
            return "it does not keep modes"
        step = "lock a file"
        fd = os.open(f"{path}/file", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.fcntl(fd, fcntl.F_GETFL)
            step = "set an attribute"
            os.setxattr(fd, "user.rpod.probe", b"1")
        finally:
            os.close(fd)
        step = "make links"
        os.symlink("file", f"{path}/symlink")
        os.link(f"{path}/file", f"{path}/link")
        os.rename(f"{path}/link", f"{path}/renamed")
        step = "make a whiteout"
        os.mknod(f"{path}/whiteout", stat.S_IFCHR, 0)
    except OSError as error:
        # A full disk says nothing about the file system, and whoever writes there next tells it.
        # EPERM of mknod(2): kernels before 5.8 allow no whiteout, anywhere.
        if error.errno in _FULL or (step == "make a whiteout" and error.errno == errno.EPERM):
            return ""
        return f"{step}: {error.strerror}"
    return ""


def _remove(path: str) -> None:
    try:
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        pass


def choose_node(
    store: str, config: Config, environ: "Mapping[str, str]", uid: int
) -> tuple[str, tuple[str, ...]]:
    """Make the directory of this node, private to the user; return it and lines for the user.

    Raises HostError, with what is wrong with each.
    """
    reasons: list[str] = []
    notes: list[str] = []
    for base in _bases(config, environ, uid):
        own = f"{base}/rpod-node-{uid}"
        problem = _take(base, own, uid)
        if not problem and base != config.node_root:
            problem = why_not_local(own) or _why_full(own)
        if not problem:
            node = f"{own}/{short_hash(store)}"
            os.makedirs(node, mode=0o700, exist_ok=True)
            return node, tuple(notes)
        reasons.append(f"{base}: {problem}")
        if "belongs to" in problem or "may write" in problem:
            notes.append(f"{own} is not used: {problem}")
    raise HostError(
        f"find a directory of this node for what changes: {'; '.join(reasons)}",
        remedy="name one on a local file system: RPOD_NODE_ROOT=DIR",
    )


def _bases(config: Config, environ: "Mapping[str, str]", uid: int) -> "Iterator[str]":
    if config.node_root:
        yield config.node_root
        return
    session = environ.get("XDG_RUNTIME_DIR", "")
    jobs = [environ.get(name, "") for name in _JOB_DIRECTORIES]
    for base in (session, f"/run/user/{uid}", *jobs, "/dev/shm", "/var/tmp", "/tmp"):  # noqa: S108 - owner and mode are checked
        if base.startswith("/"):
            yield os.path.normpath(base)


def _take(base: str, own: str, uid: int) -> str:
    """Make a directory of the user alone; return why that cannot be, or ""."""
    try:
        os.makedirs(base, exist_ok=True) if base == os.path.dirname(own) else None
        try:
            os.mkdir(own, 0o700)
        except FileExistsError:
            pass
        status = os.lstat(own)
    except OSError as error:
        return error.strerror or "unusable"
    if not stat.S_ISDIR(status.st_mode):
        return "something that is no directory is there"
    if status.st_uid != uid:
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & 0o077:
        return "others may write to it, or look into it"
    return ""


def _why_full(path: str) -> str:
    free = os.statvfs(path)
    if free.f_bavail * free.f_frsize < _LEAST_FREE_BYTES:
        return f"{free.f_bavail * free.f_frsize >> 20} MiB are free"
    return ""


def _is_own(path: str, uid: int) -> bool:
    """Tell whether a remembered directory is still there; the one above it is closed to others."""
    try:
        status, above = os.lstat(path), os.lstat(os.path.dirname(path))
    except OSError:
        return False
    return all(
        stat.S_ISDIR(one.st_mode) and one.st_uid == uid and not one.st_mode & 0o022
        for one in (status, above)
    )


def _remember(store: str, memory: str, node: str) -> None:
    """Note the choice for the other commands of this boot; forget machines long gone."""
    layout = Layout(store, "")
    directory = os.path.dirname(memory)
    try:
        for path in (layout.blobs_dir, layout.images_dir, layout.names_dir, directory):
            os.makedirs(path, mode=0o700, exist_ok=True)
        write_file(memory, os.fsencode(f"{node}\n"))
        limit_s = time.time() - _MEMORY_AGE_S
        for name in os.listdir(directory):
            if os.stat(f"{directory}/{name}").st_mtime < limit_s:
                os.unlink(f"{directory}/{name}")
    except OSError:
        # A full or read-only home, another command that cleans: the next one chooses the same.
        return
