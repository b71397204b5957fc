"""Where this user's store and run root are, and who the user is.

The run root holds the locks by which every command knows what runs, so all commands of one boot
must agree on it, whether they come from a login session, cron or a batch job. The store therefore
remembers it (`runroot`: boot id, path); what is said explicitly goes first.
"""

import errno
import os
import stat

from rootless.config import Config, load_config
from rootless.errors import HostError
from rootless.host.identity import Ranges, default_maps, find_ranges
from rootless.host.programs import read_text
from storage.errors import StoreUnusable
from storage.files import make_store, write_file
from storage.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless.linux.userns import IdMaps

_ELSEWHERE = "use a directory that you can write: --root DIR or RPOD_ROOT=DIR"
REMEMBERED = "remembered since this boot"
_RUNROOT_ELSEWHERE = "use a directory of your own: --runroot DIR or RPOD_RUNROOT=DIR"


class Host:
    """One user on one machine: `layout` for paths, `config`, ids, and notes for the user."""

    __slots__ = (
        "_maps",
        "_ranges",
        "_user_name",
        "config",
        "environ",
        "gid",
        "layout",
        "notes",
        "notes_in_one_line",
        "one_id_is_enough",
        "run_root_reason",
        "uid",
    )

    def __init__(
        self,
        layout: Layout,
        *,
        uid: int,
        gid: int,
        config: Config,
        environ: "Mapping[str, str]",
        run_root_reason: str,
    ) -> None:
        self.layout = layout
        self.uid = uid
        self.gid = gid
        self.config = config
        self.environ = environ
        self.run_root_reason = run_root_reason
        self.notes: list[str] = []
        # One line is as much as a batch job's output should have of them.
        self.notes_in_one_line = False
        # What is to be done needs no other ids: that there are none is not worth a note.
        self.one_id_is_enough = False
        self._maps: IdMaps | None = None
        self._ranges: Ranges | None = None
        self._user_name = ""

    @property
    def user_name(self) -> str:
        """The account's name, the decimal uid when the account has none."""
        if not self._user_name:
            self._user_name = user_name(self.uid)
        return self._user_name

    def note(self, text: str) -> None:
        """Remember one line about what the user does not get; the command line prints it."""
        if text not in self.notes:
            self.notes.append(text)

    def ranges(self) -> Ranges:
        """Return the subordinate ids, read once."""
        if self._ranges is None:
            self._ranges = find_ranges(self.uid, self.gid, self.user_name)
        return self._ranges

    def id_maps(self) -> "IdMaps":
        """Return the default map of a container; with a note when it has a single id."""
        if self._maps is None:
            ranges = self.ranges()
            self._maps = default_maps(self.uid, self.gid, ranges)
            if self._maps.is_single and not self.one_id_is_enough:
                self.note(
                    f"{ranges.problem}: containers have a single id and emulate the "
                    f"others; fix: {ranges.remedy}"
                )
            if self.uid == 0 and is_initial_namespace():
                self.note(
                    "running as root: root in a container is root on this host for every file "
                    "it is given; rpod is made for regular users"
                )
        return self._maps


def open_host(
    root: str | None = None,
    runroot: str | None = None,
    environ: "Mapping[str, str]" = os.environ,
    uid: int | None = None,
    *,
    prepare: bool = True,
) -> Host:
    """Find the store and the run root, and make them.

    Without `prepare` no store is made and a missing place is no error (`info` and `doctor`).
    Raises StoreUnusable, HostError, UsageError (a wrong configuration).
    """
    own = os.geteuid() if uid is None else uid
    home = home_directory(own, environ)
    config = load_config(environ, home=home)
    shared, additional = "", config.additional_stores
    notes: tuple[str, ...] = ()
    try:
        try:
            store = store_directory(root, config, environ, home)
        except StoreUnusable:
            if not prepare:
                raise
            store = ""
        if config.node_root or not _is_known_local(store):
            from rootless.host.node import find_place

            is_named = bool(root or config.root or environ.get("XDG_DATA_HOME", ""))
            place = find_place(
                store, config, environ, uid=own, boot=boot_id(), explicit=is_named, prepare=prepare
            )
            store, shared, notes = place.store, place.shared, place.notes
            additional = (*((shared,) if shared else ()), *place.additional, *additional)
        if prepare:
            make_own_store(store, own, home)
        run_root, reason = find_run_root(runroot, config, environ, uid=own, store=store)
    except (StoreUnusable, HostError) as error:
        if prepare:
            raise
        store = f"{home}/.local/share/rpod"
        run_root, reason = f"/run/user/{own}/rpod", error.message
    if prepare:
        make_run_root(run_root, own)
        if reason != REMEMBERED:
            _remember_run_root(store, run_root)
    limits = (config.max_layer_size, config.max_layer_ratio, config.max_layer_files)
    host = Host(
        Layout(store, run_root, additional, limits, shared),
        uid=own,
        gid=os.getegid(),
        config=config,
        environ=environ,
        run_root_reason=reason,
    )
    host.notes += notes
    host.notes_in_one_line = bool(shared or notes)
    return host


def user_name(uid: int) -> str:
    """Return the account's name, the decimal uid when there is no such account."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def home_directory(uid: int, environ: "Mapping[str, str]") -> str:
    """Return $HOME, else the account's directory, else an empty string."""
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return home
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return ""


def store_directory(
    root: str | None, config: Config, environ: "Mapping[str, str]", home: str
) -> str:
    """Return the absolute path of the store; `config` has RPOD_ROOT already."""
    if root:
        return os.path.abspath(root)
    if config.root:
        return config.root
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):
        return f"{os.path.normpath(data)}/rpod"
    if not home:
        raise StoreUnusable("find the store: this account has no home directory", remedy=_ELSEWHERE)
    return f"{os.path.normpath(home)}/.local/share/rpod"


def make_own_store(store: str, uid: int, home: str) -> None:
    """Make the store, or check that the one there belongs to the user.

    Raises StoreUnusable, DiskFull.
    """
    try:
        owner = os.stat(store).st_uid
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise StoreUnusable(f"open the store {store}: {error.strerror}") from error
    else:
        if owner != uid:
            raise StoreUnusable(
                f"open the store {store}: it belongs to {user_name(owner)}, not to "
                f"{user_name(uid)}",
                remedy=f"{_ELSEWHERE}, or log in properly (su -, sudo -i) so that HOME is right",
            )
    try:
        make_store(Layout(store, ""))
    except StoreUnusable as error:
        if store.startswith(f"{home}/") and not os.path.isdir(home):
            raise StoreUnusable(
                f"make the store {store}: the home directory {home} does not exist",
                remedy=_ELSEWHERE,
            ) from error
        raise


def find_run_root(
    runroot: str | None,
    config: Config,
    environ: "Mapping[str, str]",
    *,
    uid: int,
    store: str,
) -> tuple[str, str]:
    """Return the run root and where it comes from; nothing is made.

    Raises HostError when no place is left.
    """
    if runroot:
        return os.path.abspath(runroot), "--runroot"
    if config.runroot:
        return config.runroot, "configuration"
    if remembered := _remembered_run_root(store, uid):
        return remembered, REMEMBERED
    for base, name, reason in _candidates(environ, uid):
        path = f"{base}/{name}"
        if name == "rpod":
            if _is_own_directory(base, uid):
                return path, reason
        elif os.access(base, os.W_OK | os.X_OK) and _is_free_or_own(path, uid):
            return path, reason
    raise HostError(
        f"find a runtime directory: neither XDG_RUNTIME_DIR nor /run/user/{uid} is usable, and "
        f"rpod-{uid} in /dev/shm and /tmp is missing and cannot be made, or belongs to somebody "
        "else",
        remedy=_RUNROOT_ELSEWHERE,
    )


def _candidates(environ: "Mapping[str, str]", uid: int) -> "Iterator[tuple[str, str, str]]":
    session = environ.get("XDG_RUNTIME_DIR", "")
    if session.startswith("/"):
        yield os.path.normpath(session), "rpod", "XDG_RUNTIME_DIR"
    yield f"/run/user/{uid}", "rpod", f"/run/user/{uid}"
    yield "/dev/shm", f"rpod-{uid}", "/dev/shm"  # noqa: S108 - owner and mode are checked
    yield "/tmp", f"rpod-{uid}", "/tmp"  # noqa: S108 - owner and mode are checked


def _is_own_directory(path: str, uid: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == uid
        and os.access(path, os.W_OK | os.X_OK, effective_ids=True)
    )


def _is_free_or_own(path: str, uid: int) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return True
    return _is_private(status, uid)


def _is_private(status: os.stat_result, uid: int) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o022


def make_run_root(path: str, uid: int) -> None:
    """Make the run root with mode 0700, or check that the one there is nobody else's.

    Raises HostError.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        status = _make_directory(path)
    except OSError as error:
        raise _unusable(path, os.strerror(error.errno or 0)) from error
    if stat.S_ISLNK(status.st_mode):
        raise _unusable(path, "it is a symbolic link")
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(path, "it is not a directory")
    if status.st_uid != uid:
        raise _unusable(path, f"it belongs to {user_name(status.st_uid)}")
    if status.st_mode & 0o022:
        raise _unusable(path, "others may write to it", remedy=f"chmod 700 {path}")


def _make_directory(path: str) -> os.stat_result:
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        os.makedirs(f"{path}/containers", mode=0o700, exist_ok=True)
        return os.lstat(path)
    except OSError as error:
        raise _unusable(path, os.strerror(error.errno or 0)) from error


def _unusable(path: str, why: str, *, remedy: str = _RUNROOT_ELSEWHERE) -> HostError:
    return HostError(f"use the runtime directory {path}: {why}", remedy=remedy)


def is_initial_namespace(*, uid_map: str = "/proc/self/uid_map") -> bool:
    """Whether ids here are those of the machine (user_namespaces(7)), not of a container."""
    return read_text(uid_map).split() == ["0", "0", "4294967295"]


def boot_id() -> str:
    """Return the random name of this boot (random(4))."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()


def _is_known_local(store: str) -> bool:
    """Tell whether a command of this boot has found that the store can be used as it is."""
    if not store:
        return False
    boot, separator, _ = read_text(Layout(store, "").runroot_file).partition(" ")
    return bool(separator) and boot == boot_id()


def _remembered_run_root(store: str, uid: int) -> str:
    boot, separator, path = read_text(Layout(store, "").runroot_file).rstrip("\n").partition(" ")
    if separator and boot == boot_id() and path.startswith("/"):
        try:
            if _is_private(os.lstat(path), uid):
                return path
        except OSError:
            pass
    return ""


def _remember_run_root(store: str, path: str) -> None:
    line = f"{boot_id()} {path}\n"
    if read_text(Layout(store, "").runroot_file) == line:
        return
    try:
        write_file(Layout(store, "").runroot_file, os.fsencode(line), sync=False)
    except OSError as error:
        # A store that can only be read, or a full disk: reading commands must go on working.
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT):
            raise
