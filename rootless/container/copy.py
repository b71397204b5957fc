"""`cp`: between a container and the host, or two containers, as a stream of tar.

Two processes work at once, one at each end: the first packs, with the one root directory as its
own, the second puts it in its place below the other. docs/security.md says what neither can do.
"""

import contextlib
import errno
import fcntl
import os
import stat

from rootless.container.inside import Inside, Job
from rootless.errors import RootlessError, UsageError
from rootless.linux import syscalls
from rootless.sandbox.plan import Config
from storage import lightjson as json
from storage.containers import find_container, read_config
from storage.inflate import inflate, peek
from storage.pack import END, Packer
from storage.place import Placer, Rules
from storage.record import NamedTuple
from storage.xattrs import read_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless.host.paths import Host

_PIPE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_PATH = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HEADER_LIMIT_BYTES = 1 << 16
_BLOCK_BYTES = 512  # of tar
_LINKS_LIMIT = 40  # as the kernel's
_STREAM = "-"
_DIRECTORY_REMEDY = "name a directory, or one that is to be made"


class End(NamedTuple):
    """One end of a copy: a path of a container, of the host (no container), or a stream."""

    container: str
    path: str


class _CutOff(RootlessError):
    """The other end has stopped; what it says is the error to show."""


def copy(
    host: "Host",
    source: End,
    target: End,
    *,
    archive: bool = True,
    overwrite: bool = False,
    own_ids: bool = False,
) -> None:
    """Copy as podman-cp(1) says; with `archive` the files are for the user of the container.

    With `own_ids` an archive has the container's ids, without it those of the host.

    Raises ContainerNotFound, UsageError, RootlessError, StorageError.
    """
    _check(source, target)
    # xattr is loaded by its first use, which must not be inside.
    read_allowed("/")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Inside(host, source.container)) if source.container else None
        second = first
        if not (first and target.container and _is_same(host, first, target)):
            second = None
            if target.container:
                second = stack.enter_context(Inside(host, target.container))
        rules = _rules(first, second, archive=archive, overwrite=overwrite)
        if own_ids:
            rules = rules._replace(host_ids=None)
        stream = _Stream(source, target, rules)
        stack.callback(stream.close)
        if first is second and first is not None:
            # An overlay is mounted once only: both ends work in one mount of it.
            job = first.start(stream.both)
            stream.close()
            job.result()
        else:
            sending = first.start(stream.send) if first else Job(stream.send)
            receiving = second.start(stream.receive) if second else Job(stream.receive)
            stream.close()
            _finish(sending, receiving)


def _is_same(host: "Host", first: Inside, target: End) -> bool:
    return find_container(host.layout, target.container).record.id == first.found.record.id


def _check(source: End, target: End) -> None:
    if not source.container and not target.container:
        raise UsageError(
            "name or ID cannot be empty", remedy="one of the two must be CONTAINER:PATH"
        )
    if not source.path or not target.path:
        raise UsageError("invalid arguments: you must specify paths")
    if not source.container and source.path == _STREAM and os.isatty(0):
        raise UsageError("cannot read an archive from a terminal", remedy="give it by a pipe")
    if not target.container and target.path == _STREAM and os.isatty(1):
        raise UsageError("cannot write an archive to a terminal", remedy="write it to a file")


def _finish(sending: Job, receiving: Job) -> None:
    """Wait for both ends. Raises the error of the end that failed by itself, the first one."""
    errors: list[Exception] = []
    for job in (sending, receiving):
        try:
            job.result()
        except Exception as error:  # noqa: BLE001 - one of them is raised below
            errors.append(error)
    own = [error for error in errors if not isinstance(error, _CutOff)]
    if own or errors:
        raise (own or errors)[0]


def _rules(
    source: Inside | None, target: Inside | None, *, archive: bool, overwrite: bool
) -> Rules:
    if target is None:
        # A setuid file that belongs to the caller would be a gift to everybody on the host.
        return Rules(overwrite=overwrite, special_bits=False)
    if not archive:
        host_ids = None
        if source is None:
            record = target.found.record
            host_ids = (record.uid_map, record.gid_map)
        return Rules(keep_owners=True, overwrite=overwrite, host_ids=host_ids)
    config = Config(read_config(target.found.paths))
    user = config.part("process").part("user")
    return Rules(owner=(user.number("uid"), user.number("gid")), overwrite=overwrite)


class _Stream:
    """The pipe between the two ends: one line of JSON about the source, then tar."""

    def __init__(self, source: End, target: End, rules: Rules) -> None:
        self._source = source
        self._target = target
        self._rules = rules
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        # /proc of a container does not show a process that has only joined its mounts.
        self._proc = os.open("/proc", _PATH | os.O_DIRECTORY)
        try:
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError as error:
            # EPERM: the user's pipes have reached the limit (pipe(7)); it is only slower.
            if error.errno != errno.EPERM:
                raise

    def close(self) -> None:
        """Let go of both ends of the pipe."""
        for fd in (self._reader, self._writer, self._proc):
            if fd >= 0:
                os.close(fd)
        self._reader = self._writer = self._proc = -1

    def both(self) -> None:
        """Be both ends, each in a process of its own."""
        sending, receiving = Job(self.send), Job(self.receive)
        self.close()
        _finish(sending, receiving)

    def send(self) -> None:
        """Be the sending end."""
        os.close(self._reader)
        try:
            if self._source == End("", _STREAM):
                _send_stream(self._writer)
            else:
                place = _Root(self._proc, inside=bool(self._source.container))
                _send_path(place, self._source, self._target, self._writer)
        except BrokenPipeError as error:
            raise _CutOff("the receiving end has stopped") from error

    def receive(self) -> None:
        """Be the receiving end."""
        os.close(self._writer)
        header = _read_header(self._reader)
        chunks = _chunks(self._reader)
        if self._target == End("", _STREAM):
            for chunk in chunks:
                _write_all(1, chunk)
            return
        place = _Root(self._proc, inside=bool(self._target.container))
        if header.get("stream"):
            top, name = _stream_target(place, self._target), ""
        else:
            top, name = _find_target(place, self._target, header)
        placer = Placer(top, self._rules, place.open_directory)
        placer.place(chunks, rename=os.fsencode(name))


# The sending end.


def _send_stream(writer: int) -> None:
    """Pass on the archive on standard input, inflated."""
    with open(0, "rb", buffering=0, closefd=False) as file:
        compression, start = peek(file)
        chunks = inflate(start, compression)
        first = b""
        while len(first) < _BLOCK_BYTES and (chunk := next(chunks, b"")):
            first += chunk
        if len(first) < _BLOCK_BYTES:
            raise UsageError("source must be a (compressed) tar archive when copying from stdin")
        _write_header(writer, {"stream": True})
        _write_all(writer, first)
        for chunk in chunks:
            _write_all(writer, chunk)


def _send_path(place: "_Root", source: End, target: End, writer: int) -> None:
    where = _where(source)
    try:
        fd = place.open(source.path, _PATH)
    except OSError as error:
        # podman and docker overlook a slash after the name of a container's file.
        plain = source.path.rstrip("/") if source.container else ""
        if not isinstance(error, NotADirectoryError) or not plain or plain.endswith("/."):
            raise RootlessError(
                f'"{source.path}" could not be found on {where}: {_text(error)}'
            ) from error
        fd = place.open(plain, _PATH)
    mode = os.fstat(fd).st_mode
    is_directory = stat.S_ISDIR(mode)
    if not is_directory and not stat.S_ISREG(mode):
        raise UsageError(
            f'copy "{source.path}" of {where}: it must be a directory or a regular file'
        )
    real = place.real_path(fd)
    contents = source.path.endswith("/.") or source.path == "." or real == "/"
    base = os.path.basename(real)
    _write_header(writer, {"directory": is_directory, "base": base, "contents": contents})
    to_stream = not target.container and target.path == _STREAM
    name = os.fsencode(base) if to_stream and not (contents and is_directory) else b""
    opened = place.reopen(fd, _LIST if is_directory else _READ)
    packer = Packer()
    if is_directory:
        pieces = packer.tree(opened, name, top=bool(name) or not to_stream)
    else:
        pieces = packer.file(opened, name or b".")
    try:
        for piece in pieces:
            _write_all(writer, piece)
        _write_all(writer, END)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RootlessError(f'copy "{source.path}" of {where}: {_text(error)}') from error


def _where(end: End) -> str:
    return f"container {end.container}" if end.container else "the host"


def _text(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _write_header(writer: int, header: dict[str, object]) -> None:
    _write_all(writer, json.dumps(header).encode() + b"\n")


def _write_all(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]


# The receiving end.


def _read_header(reader: int) -> dict[str, object]:
    data = b""
    while not data.endswith(b"\n") and len(data) < _HEADER_LIMIT_BYTES:
        byte = os.read(reader, 1)
        if not byte:
            raise _CutOff("the sending end has stopped")
        data += byte
    header = json.loads(data)
    assert isinstance(header, dict)
    return header


def _chunks(reader: int) -> "Iterator[bytes]":
    while chunk := os.read(reader, _CHUNK_BYTES):
        yield chunk


def _stream_target(place: "_Root", target: End) -> int:
    fd = _open_target(place, target, target.path)
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        raise UsageError("destination must be a directory when copying from stdin")
    return place.reopen(fd, _LIST)


def _find_target(place: "_Root", target: End, header: dict[str, object]) -> tuple[int, str]:
    """Return a directory, and the name that the source gets there; "" puts its contents there."""
    try:
        fd = place.open(target.path, _PATH)
    except FileNotFoundError:
        return _new_target(place, target)
    except OSError as error:
        raise _not_found(target, error) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        name = "" if header["directory"] and header["contents"] else str(header["base"])
        return place.reopen(fd, _LIST), name
    if header["directory"]:
        raise UsageError(
            "destination must be a directory when copying a directory", remedy=_DIRECTORY_REMEDY
        )
    if not stat.S_ISREG(mode):
        raise UsageError(f'destination "{target.path}" must be a directory or a regular file')
    parent, _, name = place.real_path(fd).rpartition("/")
    return place.reopen(_open_target(place, target, parent or "/"), _LIST), name


def _new_target(place: "_Root", target: End, links: int = 0) -> tuple[int, str]:
    if target.path.endswith("/"):
        raise _not_found(target, None)
    path = target.path.removesuffix("/.").rstrip("/")
    parent, slash, name = path.rpartition("/")
    fd = _open_target(place, target, parent or slash or ".")
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        raise _not_found(target, None)
    link = _link_at(fd, name) if target.container else ""
    if not link:
        return place.reopen(fd, _LIST), name
    # A link to what is not there yet: it is made where the link leads.
    if links >= _LINKS_LIMIT:
        raise _not_found(target, OSError(errno.ELOOP, os.strerror(errno.ELOOP)))
    leads_to = link if link.startswith("/") else f"{place.real_path(fd)}/{link}"
    return _new_target(place, target._replace(path=leads_to), links + 1)


def _link_at(directory: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return ""  # nothing is there, which is the usual case


def _open_target(place: "_Root", target: End, path: str) -> int:
    try:
        return place.open(path, _PATH)
    except OSError as error:
        raise _not_found(target, error) from error


def _not_found(target: End, error: OSError | None) -> RootlessError:
    reason = _text(error) if error is not None else "no such file or directory"
    return RootlessError(
        f'"{target.path}" could not be found on {_where(target)}: {reason}',
        remedy="make the directory first",
    )


class _Root:
    """How paths are looked up at one end: below the container's root, or on the host."""

    def __init__(self, proc: int, *, inside: bool) -> None:
        self._proc = proc
        self._inside = inside
        self._root = os.open("/", _PATH | os.O_DIRECTORY) if inside else syscalls.AT_FDCWD

    def open(self, path: str, flags: int) -> int:
        """Open a path; links of a container lead to places in the container. Raises OSError."""
        if not self._inside:
            return os.open(path, flags)
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        return syscalls.openat2(self._root, "/" + path, flags, resolve=resolve)

    def open_directory(self, top: int, path: bytes) -> int:
        """Open a directory below `top`: on the host without any link. Raises OSError."""
        resolve = syscalls.RESOLVE_NO_MAGICLINKS
        if not self._inside:
            resolve = syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_BENEATH
        return syscalls.openat2(top, os.fsdecode(path), _LIST, resolve=resolve)

    def reopen(self, fd: int, flags: int) -> int:
        """Open for reading what was opened as a place only. Raises OSError."""
        if flags & os.O_DIRECTORY:
            return os.open(".", flags, dir_fd=fd)
        return self.open(self.real_path(fd), flags | os.O_NOFOLLOW)

    def real_path(self, fd: int) -> str:
        """Return the path of a descriptor from the root directory, without links."""
        return os.readlink(f"self/fd/{fd}", dir_fd=self._proc)
