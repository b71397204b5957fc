"""Become a process of a container that other ranks of a job step share: `rpod shell --join`.

The entry point of every rank but the first. It loads little and looks up little, because hundreds
of ranks may read the same shared file system: no command line, no store. The first rank on a node
publishes a record and leaves a holder behind (`rootless.sandbox.holder`); each rank registers with
it, enters its user and mount namespaces and executes the program in its own place, with its own
pid, cgroup, streams and descriptors.

All of it lies in a directory of the node's memory that is the user's alone.
"""

import errno
import fcntl
import marshal
import os
import stat

from rootless.container.personal import add_variables
from rootless.container.shell_words import names_image
from rootless.errors import (
    CommandNotExecutable,
    CommandNotFound,
    HostError,
    RootlessError,
    SandboxError,
    UsageError,
)
from rootless.linux import syscalls as sc
from rootless.linux.procfs import start_time
from rootless.sandbox.process import Process, enter_directory, execute, reset_signals, take_identity
from rootless.sandbox.targets import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

LOCK_VARIABLE = "RPOD_JOIN_LOCK"
_BASES = ("/dev/shm", "/tmp")  # noqa: S108 - owner and mode are checked
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
# What names the step of a job, in the order in which it is asked.
_STEPS = (
    ("SLURM_JOB_ID", "SLURM_STEP_ID"), ("PMIX_NAMESPACE",), ("PALS_APID",), ("FLUX_JOB_ID",),
)  # fmt: skip
_RECORD = ".rank"
# The form of marshal that every Python reads: what shares the node need not be the same one.
_MARSHAL_VERSION = 2
_HEADER = b"rpod rank 1\n"


def join_early(argv: "Sequence[str]", environ: "MutableMapping[str, str]") -> None:
    """Join and never return, or leave the lock of the step behind for the command that follows.

    Raises HostError and what executing the program raises.
    """
    if not argv or argv[0] != "shell":
        return
    words = list(argv)
    tag = ""
    for number, word in enumerate(words):
        if word.startswith("--join-tag"):
            tag = word.partition("=")[2] or "".join(words[number + 1 : number + 2])
            break
        if word == "--":
            break
    place, lock = enter_place(step_tag(tag, environ))
    record = find_record(place, words)
    if record is None:
        environ[LOCK_VARIABLE] = f"{place},{lock}"
        return
    become_rank(place, lock, record, words, environ)


def step_tag(tag: str, environ: "Mapping[str, str]") -> str:
    """Return what ranks that belong together have in common."""
    if tag:
        if not _PLAIN.issuperset(tag):
            raise UsageError(f"--join-tag {tag}: only letters, digits, _ and - are possible")
        return f"tag-{tag}"
    for names in _STEPS:
        values = [environ.get(name, "") for name in names]
        if all(values):
            text = "-".join(values)
            return "".join(letter if letter in _PLAIN else "_" for letter in text)[:200]
    parent = os.getppid()
    return f"parent-{parent}-{start_time(parent)}"


def enter_place(tag: str) -> tuple[int, int]:
    """Open the directory of a step, made if it is not there, and wait for its lock; return both.

    The lock is held for a moment, or while the first rank prepares. Raises HostError when somebody
    else has made the directory.
    """
    uid = os.geteuid()
    base = next((path for path in _BASES if os.access(path, os.W_OK | os.X_OK)), "")
    if not base:
        raise HostError("--join: neither /dev/shm nor /tmp can be written to")
    path = f"{base}/rpod-ranks-{uid}"
    try:
        os.close(_open_own(path, uid))
        while True:
            place = _open_own(f"{path}/{tag}", uid)
            lock = _take_lock(place)
            if lock >= 0:
                return place, lock
            os.close(place)  # its last holder has removed it meanwhile
    except OSError as error:
        raise HostError(f"--join: use {path}: {error.strerror}") from error


def _open_own(path: str, uid: int) -> int:
    """Open a directory, made if it is not there, that is nobody else's. Raises HostError."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(fd)
        raise HostError(
            f"--join: {path} belongs to somebody else or is open to others",
            remedy="ask its owner to remove it, or chmod 700 where it is yours",
        )
    return fd


def _take_lock(place: int) -> int:
    """Wait for the lock; -1 when it has been removed."""
    try:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=place)
    except FileNotFoundError:
        return -1
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fstat(lock).st_nlink:
        return lock
    os.close(lock)
    return -1


def find_record(place: int, words: list[str]) -> "dict[str, object] | None":
    """Return what the first rank with this image and these options has published.

    A record whose holder is gone is removed: a job was killed.
    """
    for name in os.listdir(place):
        if not name.endswith(_RECORD):
            continue
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=place)
        try:
            # Not JSON, whose module is a file to find: five look-ups of each rank. The directory is
            # the user's alone.
            data = os.read(fd, os.fstat(fd).st_size)
            mine = data.startswith(_HEADER)
            record = marshal.loads(data[len(_HEADER) :]) if mine else None  # noqa: S302
        except (ValueError, EOFError, TypeError):
            record = None
        finally:
            os.close(fd)
        if not isinstance(record, dict) or not _is_alive(record):
            for one in (name, f"{name.removesuffix(_RECORD)}.fifo"):
                try:
                    os.unlink(one, dir_fd=place)
                except FileNotFoundError:
                    pass
            continue
        prefix = record["prefix"]
        if words[: len(prefix)] == prefix and _is_command(words[len(prefix) :], record):
            record["name"] = name.removesuffix(_RECORD)
            return record
    return None


def _is_command(words: list[str], record: "dict[str, object]") -> bool:
    """Tell whether the words are a command where the first rank has named no image."""
    if record["names_image"] or not words:
        return True
    return words[0] not in ("--", ".") and not names_image(words[0])


def publish_record(place: int, name: str, record: "dict[str, object]") -> None:
    """Let the other ranks find the namespaces; the file appears whole."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(f"{name}.part", flags, 0o600, dir_fd=place)
    try:
        os.write(fd, _HEADER + marshal.dumps(record, _MARSHAL_VERSION))
    finally:
        os.close(fd)
    os.rename(f"{name}.part", f"{name}{_RECORD}", src_dir_fd=place, dst_dir_fd=place)


def _is_alive(record: "dict[str, object]") -> bool:
    pid = record.get("pid")
    try:
        return isinstance(pid, int) and start_time(pid) == record["start"]
    except OSError:
        return False


def become_rank(
    place: int,
    lock: int,
    record: "dict[str, object]",
    words: list[str],
    environ: "MutableMapping[str, str]",
) -> None:
    """Register, enter the namespaces and execute the program. Never returns."""
    environ.pop(LOCK_VARIABLE, None)
    prefix, command = record["prefix"], record["command"]
    assert isinstance(prefix, list) and isinstance(command, list)
    process = _make_process(record, words[len(prefix) :] or command, environ)
    pid = record["pid"]
    try:
        namespaces = [
            os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            for kind in ("user", "mnt")
        ]
        fifo = os.open(
            f"{record['name']}.fifo", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place
        )
        os.write(fifo, os.getpid().to_bytes(4, "little"))
    except OSError as error:
        raise HostError(f"--join: reach the other ranks: {error.strerror}") from error
    fcntl.flock(lock, fcntl.LOCK_UN)
    here = _directory(environ)
    try:
        # Until the program is executed this is the caller's interpreter.
        sc.prctl(sc.PR_SET_DUMPABLE, 0)
        sc.setns(namespaces[0], sc.CLONE_NEWUSER)
        sc.setns(namespaces[1], sc.CLONE_NEWNS)
        reset_signals()
        take_identity(process, None)
        for directory in (here, process.environment[b"HOME"].decode(errors="surrogateescape")):
            if os.path.isdir(directory):
                enter_directory(directory)
                break
        execute(process)
    except StepError as error:
        raise _explain(error) from error


def _explain(error: StepError) -> RootlessError:
    """Say why the program does not run. Nothing can be loaded any more."""
    reason = os.strerror(error.number) if error.number else "failed"
    if error.step == "execute" and error.number in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFound(f'executable file "{error.path}" not found: {reason}')
    if error.step in ("execute", "find the interpreter of"):
        return CommandNotExecutable(f'{error.step} "{error.path}": {reason}')
    return SandboxError(f"{error.step} ({error.path}): {reason}")


def _directory(environ: "Mapping[str, str]") -> str:
    """Return the working directory under the name by which the caller knows it."""
    try:
        here = os.getcwd()
        named = environ.get("PWD", "")
        if named.startswith("/") and os.path.samefile(named, here):
            return os.path.normpath(named)
    except OSError:
        return "/"
    return here


def _make_process(
    record: "dict[str, object]", command: list[str], environ: "MutableMapping[str, str]"
) -> Process:
    given, env = record["given"], record["env"]
    assert isinstance(given, dict) and isinstance(env, dict)
    variables: dict[str, str] = dict(env)
    add_variables(variables, environ, str(record["home"]))
    variables.update(given)
    process = Process()
    process.arguments = list(command)
    process.environment = {os.fsencode(k): os.fsencode(v) for k, v in variables.items()}
    process.search_path = variables.get("PATH", "")
    process.uid, process.gid = int(str(record["uid"])), int(str(record["gid"]))
    process.keeps_groups = True
    process.umask = os.umask(0o077)
    for name in ("bounding", "permitted", "effective", "inheritable", "ambient"):
        setattr(process, name, record[name])
    process.no_new_privileges = bool(record["no_new_privileges"])
    process.seccomp = bytes.fromhex(str(record["seccomp"]))
    return process
