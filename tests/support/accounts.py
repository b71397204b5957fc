"""Accounts that tests run as: made by root and removed again, or the caller's own."""

import contextlib
import ctypes
import os
import pickle
import pwd
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PR_SET_DUMPABLE = 4


class Account(NamedTuple):
    """A regular user: `home` and `runtime_dir` are for tests alone, never the person's own."""

    name: str
    uid: int
    gid: int
    home: str
    runtime_dir: str
    subordinate: tuple[tuple[int, int], ...]  # (first, count) of the subordinate uids

    def environment(self) -> dict[str, str]:
        return {
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "PATH": PATH,
            "TERM": "xterm",
            "XDG_RUNTIME_DIR": self.runtime_dir,
        }

    def owns(self, uid: int) -> bool:
        """Tell whether `uid` is the account's own or one of its subordinate ids."""
        return uid == self.uid or any(
            first <= uid < first + count for first, count in self.subordinate
        )


def subordinate_ids(name: str, uid: int, file: str = "/etc/subuid") -> tuple[tuple[int, int], ...]:
    """Return the (first, count) lines of a subordinate id file that belong to a user."""
    found = []
    with contextlib.suppress(FileNotFoundError), open(file, encoding="utf-8") as lines:
        for line in lines:
            owner, _, rest = line.strip().partition(":")
            first, _, count = rest.partition(":")
            if owner in (name, str(uid)) and first.isdigit() and count.isdigit():
                found.append((int(first), int(count)))
    return tuple(found)


def _passwd_tool(*command: str) -> None:
    # One tool at a time holds the account files: "cannot lock /etc/passwd; try again later."
    for attempt in range(50):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if "lock" not in done.stderr or attempt == 49:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        time.sleep(0.2)


def create_account(name: str, *, subordinate: bool) -> Account:
    """Make a user (root only), with or without subordinate ids."""
    options = [] if subordinate else ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
    _passwd_tool("useradd", "--create-home", "--shell", "/bin/sh", *options, name)
    entry = pwd.getpwnam(name)
    if subordinate and not subordinate_ids(name, entry.pw_uid):
        first = 1_000_000 + (entry.pw_uid % 10_000) * 65_536
        block = f"{first}-{first + 65_535}"
        _passwd_tool("usermod", "--add-subuids", block, "--add-subgids", block, name)
    runtime_dir = tempfile.mkdtemp(prefix="rpt-", dir="/tmp")
    os.chown(runtime_dir, entry.pw_uid, entry.pw_gid)
    os.chmod(entry.pw_dir, 0o700)
    ids = subordinate_ids(name, entry.pw_uid)
    return Account(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, runtime_dir, ids)


def delete_account(account: Account) -> None:
    """Remove a user made by `create_account` with everything that is theirs."""
    end_processes(account)
    remove_tree(account.runtime_dir)
    remove_tree(account.home)
    _passwd_tool("userdel", "--force", account.name)


def own_account() -> Account:
    """Take the caller as the account, with a home of its own below the caller's cache directory."""
    entry = pwd.getpwuid(os.getuid())
    base = os.path.join(entry.pw_dir, ".cache", "rpod-tests")
    os.makedirs(base, exist_ok=True)
    home = tempfile.mkdtemp(prefix="home-", dir=base)
    runtime_dir = tempfile.mkdtemp(prefix="rpt-", dir="/tmp")
    ids = subordinate_ids(entry.pw_name, entry.pw_uid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, home, runtime_dir, ids)


def remove_tree(path: str) -> None:
    """Remove a directory, also where subordinate ids own parts of it."""
    if os.getuid() == 0:
        shutil.rmtree(path, ignore_errors=True)
        return
    unshare = ["unshare", "--map-root-user", "--map-auto", "--setuid=0", "--setgid=0"]
    subprocess.run([*unshare, "rm", "-rf", "--", path], check=False, capture_output=True)
    shutil.rmtree(path, ignore_errors=True)


class Process(NamedTuple):
    pid: int
    start: str
    uid: int
    name: str
    command: str


def processes(uid_wanted: Callable[[int], bool]) -> list[Process]:
    """List the processes of some users, zombies left out (their parents end with them)."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            uid = os.stat(f"/proc/{entry}").st_uid
            with open(f"/proc/{entry}/status", encoding="utf-8", errors="replace") as status:
                uid = int(status.read().split("\nUid:\t", 1)[1].split("\t", 1)[0])
            if not uid_wanted(uid):
                continue
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                head, _, tail = stat.read().rpartition(")")
            with open(f"/proc/{entry}/cmdline", "rb") as cmdline:
                command = cmdline.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError, IndexError):
            continue
        fields = tail.split()
        if fields[0] not in ("Z", "X"):
            name = head.partition("(")[2]
            found.append(Process(int(entry), fields[19], uid, name, command))
    return found


def end_processes(account: Account) -> list[Process]:
    """Kill what still runs as an account made for tests; return what was there."""
    seen: dict[int, Process] = {}
    for _ in range(50):
        left = processes(account.owns)
        if not left:
            break
        for process in left:
            seen[process.pid] = process
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    return list(seen.values())


def become(account: Account, environment: dict[str, str] | None = None) -> None:
    """Turn this process into the account's: ids, environment, directory, umask. Not reversible."""
    if os.getuid() == 0:
        os.setgroups([account.gid])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        # A process that changed its user is not dumpable: root owns its /proc files, and it could
        # not be given an id map (proc(5), prctl(2) PR_SET_DUMPABLE).
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl PR_SET_DUMPABLE")
    os.umask(0o022)
    os.chdir("/")
    os.environ.clear()
    os.environ.update(environment if environment is not None else account.environment())


def _child(account: Account, out: int, body: Callable[[], object]) -> None:
    failure: BaseException | None = None
    result: object = None
    try:
        os.setsid()
        become(account)
        result = body()
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        error.add_note("in the child:\n" + traceback.format_exc())
        failure = error
    try:
        data = pickle.dumps((failure, result))
        pickle.loads(data)
    except Exception:  # noqa: BLE001 - whatever cannot travel is told as text
        text = repr(result) if failure is None else "\n".join(traceback.format_exception(failure))
        data = pickle.dumps((AssertionError(f"cannot be sent by the child: {text}"), None))
    view = memoryview(struct.pack("=Q", len(data)) + data)
    while view:
        view = view[os.write(out, view) :]


def _receive(source: int, deadline: float) -> bytes | None:
    """Read one length-prefixed message; None when the writer ended first. Raises TimeoutError."""
    data = b""
    while len(data) < 8 or len(data) < 8 + struct.unpack("=Q", data[:8])[0]:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([source], [], [], left_s)[0]:
            raise TimeoutError
        part = os.read(source, 1 << 16)
        if not part:
            return None
        data += part
    return data[8:]


def run_as(
    account: Account,
    timeout_s: float,
    function: Callable[P, R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Run a function in a forked child of the account and return what it returns.

    Raises what the function raised, with the child's traceback as a note.
    """
    source, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(source)
            _child(account, out, lambda: function(*args, **kwargs))
        finally:
            os._exit(0)
    os.close(out)
    try:
        data = _receive(source, time.monotonic() + timeout_s)
    except TimeoutError:
        raise AssertionError(f"the child was not done after {timeout_s} s") from None
    finally:
        os.close(source)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    if data is None:
        raise AssertionError(f"the child ended without an answer, wait status {status}")
    failure, result = pickle.loads(data)
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]  # pickle gives object back as it was


@contextlib.contextmanager
def temporary_directory(account: Account, parent: str | None = None) -> Iterator[str]:
    """Give an empty 0700 directory that the account owns; removed whatever is in it."""
    path = tempfile.mkdtemp(prefix="t-", dir=parent or account.home)
    if os.getuid() == 0:
        os.chown(path, account.uid, account.gid)
    try:
        yield path
    finally:
        remove_tree(path)
