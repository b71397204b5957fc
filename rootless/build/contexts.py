"""Build contexts: a directory, an archive or a Containerfile on standard input, a URL, git.

A context from elsewhere is put into the build's own directory first. Its files are named by people
who are not trusted: a Containerfile in it is looked up inside it, links included.
"""

import io
import os
import stat
from collections.abc import Iterator

from rootless.build.errors import BuildError
from rootless.build.remote import checkout, download, is_git, is_url
from rootless.build.workplace import Workplace
from storage.build.errors import ContextError, InvalidPattern
from storage.build.host_tree import HostTree
from storage.build.patterns import Patterns, read_ignore_file
from storage.build.stat_cache import StatCache
from storage.build.trees import resolve, walk
from storage.digest import short_hash
from storage.errors import InvalidLayer
from storage.inflate import Pushback, inflate, peek
from storage.record import NamedTuple
from storage.tar import TarReader
from storage.unpack import unpack_tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.linux.userns import IdMaps

_STDIN = "-"
_NAMES = ("Containerfile", "Dockerfile")
_IGNORE_SUFFIXES = (".containerignore", ".dockerignore")
_FILE_LIMIT_BYTES = 16 << 20
_HEAD_BYTES = 1 << 16


class Source(NamedTuple):
    """A Containerfile: its text and what messages call it."""

    data: bytes
    name: str


class Context:
    """A tree of files to copy from; `own` tells that it was made for this build.

    `cache` knows the digests of files that earlier builds have read.
    """

    def __init__(self, workplace: Workplace, tree: HostTree, *, own: bool) -> None:
        self.tree = tree
        self.own = own
        path = "" if own else workplace.layout.build_digests(_identity(tree.path))
        self.cache = StatCache(path).load() if path else StatCache("")
        self._keep = bool(path)

    @property
    def is_filtered(self) -> bool:
        """Whether an ignore file leaves something out."""
        return self.tree.is_filtered

    def leaves_out(self, path: str) -> bool:
        """Tell whether an ignore file leaves a path of the context out."""
        return self.tree.leaves_out(os.fsencode(path.strip("/")))

    @property
    def path(self) -> str:
        """The directory on the host."""
        return self.tree.path

    def has_foreign(self, path: str, maps: "IdMaps", *, readable: bool) -> bool:
        """Tell whether a container cannot change what is at and below a path as its own files.

        That is so where the id map has no place for an owner. With `readable` only files count that
        it could not even read. Raises BuildInputError, ContextError.
        """
        users = [range(outside, outside + count) for _, outside, count in maps.uids]
        groups = [range(outside, outside + count) for _, outside, count in maps.gids]
        for node in walk(self.tree, os.fsencode(path)):
            found = node.found
            if any(found.st_uid in one for one in users) and any(
                found.st_gid in one for one in groups
            ):
                continue
            needed = stat.S_IROTH | (stat.S_IXOTH if node.is_directory else 0)
            if not readable or (found.st_mode & needed != needed and not node.is_link):
                return True
        return False

    def close(self) -> None:
        """Remember the digests for the next build and let go of the tree. Raises StoreUnusable."""
        if self._keep:
            self.cache.save()
        self.tree.close()


def _identity(path: str) -> str:
    found = os.stat(path)
    return short_hash(f"{os.path.realpath(path)}:{found.st_dev}:{found.st_ino}")


class Opened(NamedTuple):
    """The context of a build and its Containerfiles."""

    context: Context
    sources: tuple[Source, ...]


def open_context(
    workplace: Workplace,
    where: str,
    *,
    files: tuple[str, ...] = (),
    ignore_file: str = "",
    stdin: "io.FileIO | None" = None,
) -> Opened:
    """Open what `rpod build [-f FILE] WHERE` names.

    WHERE is a directory, `-`, a URL or a git repository, "" for none. Each FILE is looked up in
    the working directory, then in the context; `-` is standard input. Raises BuildError,
    ContextError.
    """
    if stdin is None and _STDIN in (where, *files):
        stdin = io.FileIO(os.dup(0), "r")
    directory, name, from_stdin = _find_directory(workplace, where, stdin, bool(files))
    local = not is_git(where) and not is_url(where) and where != _STDIN
    if from_stdin is not None:
        sources: tuple[Source, ...] = (from_stdin,)
        beside = ""
    else:
        sources, beside = _read_sources(directory, files, local=local, stdin=stdin)
    patterns = _read_patterns(directory, beside, ignore_file, local=local)
    tree = HostTree(directory, name=name, ignore=patterns)
    return Opened(Context(workplace, tree, own=not local), sources)


def open_directory(workplace: Workplace, path: str, name: str = "") -> Context:
    """Open a directory of the host as a further context, with its ignore file.

    Raises ContextError.
    """
    patterns = _read_patterns(path, "", "", local=True)
    tree = HostTree(path, name=name or path, ignore=patterns)
    return Context(workplace, tree, own=False)


def open_named(workplace: Workplace, name: str, value: str) -> Context:
    """Open `--build-context NAME=VALUE` where VALUE is a directory, an archive, a URL or git.

    Raises BuildError, ContextError.
    """
    if is_git(value) or is_url(value):
        directory, shown, source = _find_directory(workplace, value, None, True)
        assert source is None
        return Context(workplace, HostTree(directory, name=shown), own=True)
    if os.path.isfile(value):
        directory = workplace.fresh_directory()
        with open(os.open(value, os.O_RDONLY | os.O_CLOEXEC), "rb", buffering=0) as file:
            if not _unpack(file, directory, f"build context {name}"):
                raise ContextError(f"build context {name}: {value} is not a tar archive")
        return Context(workplace, HostTree(directory, name=f"build context {name}"), own=True)
    if not os.path.isdir(value):
        raise ContextError(
            f"build context {name}: {value}: there is no such directory",
            remedy="give a directory, a URL, a git repository, or docker-image://IMAGE",
        )
    return open_directory(workplace, value, f"build context {name}")


def _find_directory(
    workplace: Workplace, where: str, stdin: "io.FileIO | None", has_file: bool
) -> tuple[str, str, Source | None]:
    """Return the directory of a context, its name, and a Containerfile that came in its place."""
    if where == _STDIN:
        return _from_stdin(workplace, stdin)
    if is_git(where):
        return checkout(workplace, where), where, None
    if is_url(where):
        directory = workplace.fresh_directory()
        path = download(workplace, where).path
        with open(path, "rb", buffering=0) as file:
            if _unpack(file, directory, where):
                return directory, where, None
        if has_file:
            raise ContextError(f"build context {where}: it is not a tar archive")
        with open(path, "rb") as text:
            return directory, where, Source(_limited(text.read(_FILE_LIMIT_BYTES + 1)), where)
    if not where:
        return workplace.fresh_directory(), "the empty build context", None
    if not os.path.isdir(where):
        raise ContextError(
            f"build context {where}: there is no such directory",
            remedy="give a directory, `-` for standard input, a URL or a git repository",
        )
    return where, "the build context", None


def _from_stdin(workplace: Workplace, stdin: "io.FileIO | None") -> tuple[str, str, Source | None]:
    if stdin is None or stdin.isatty():
        raise BuildError(
            "read the build context: standard input is a terminal",
            remedy="redirect it: rpod build - < Containerfile, or tar -c . | rpod build -",
        )
    directory = workplace.fresh_directory()
    head = b""
    while len(head) < _HEAD_BYTES and (part := stdin.read(_HEAD_BYTES - len(head))):
        head += part
    if _unpack(Pushback(head, stdin), directory, "standard input", head=head):
        return directory, "the archive on standard input", None
    rest = stdin.read(_FILE_LIMIT_BYTES + 1) if len(head) == _HEAD_BYTES else b""
    while rest and len(rest) <= _FILE_LIMIT_BYTES and (part := stdin.read(_FILE_LIMIT_BYTES)):
        rest += part
    empty = workplace.fresh_directory()
    return empty, "the empty build context", Source(_limited(head + rest), "standard input")


def _limited(data: bytes) -> bytes:
    if len(data) > _FILE_LIMIT_BYTES:
        raise BuildError(
            f"the Containerfile is larger than {_FILE_LIMIT_BYTES >> 20} MiB",
            remedy="a build context is a tar archive, plain or compressed",
        )
    return data


def _unpack(
    source: "io.FileIO | Pushback", directory: str, where: str, *, head: bytes = b""
) -> bool:
    """Unpack an archive; False when it is none. Raises ContextError for a broken one."""
    if head:
        start = Pushback(head, io.BytesIO(b""))
        compression, start = peek(start)
        try:
            if TarReader(_until_broken(inflate(start, compression))).next_entry() is None:
                return False
        except InvalidLayer:
            return False
    try:
        compression, begin = peek(source)
        result = unpack_tar(inflate(begin, compression), diff_id=None, target=directory)
    except InvalidLayer as error:
        if not head and not os.listdir(directory):
            return False
        raise ContextError(f"build context, {where}: {error.message}") from error
    return result.entries > 0


def _until_broken(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what can be inflated of the beginning of a stream."""
    try:
        yield from chunks
    except InvalidLayer:
        return


def _read_sources(
    directory: str, files: tuple[str, ...], *, local: bool, stdin: "io.FileIO | None"
) -> tuple[tuple[Source, ...], str]:
    """Return the Containerfiles, and the path of the first one on the host, if it has one."""
    if not files:
        for name in _NAMES:
            data = _read_in(directory, name, local=local)
            if data is not None:
                return (Source(data, name),), f"{directory}/{name}"
        raise ContextError(
            f"no Containerfile or Dockerfile specified or found in {directory}",
            remedy="name one with -f FILE",
        )
    sources = []
    beside = ""
    for name in files:
        data = None
        path = ""
        if name == _STDIN:
            if stdin is None or stdin.isatty():
                raise BuildError("read the Containerfile: standard input is a terminal")
            data = _limited(b"".join(iter(lambda: stdin.read(1 << 20), b"")))
        elif is_url(name):
            raise BuildError(
                f"-f {name}: a Containerfile has to be a file", remedy="fetch it first"
            )
        else:
            if local or os.path.isabs(name):
                data, path = _read_host(name), name
            if data is None:
                data, path = _read_in(directory, name, local=local), f"{directory}/{name}"
        if data is None:
            raise ContextError(
                f"the specified Containerfile or Dockerfile does not exist: {name}: no such file"
            )
        beside = beside or path
        sources.append(Source(data, "standard input" if name == _STDIN else name))
    return tuple(sources), beside


def _read_host(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ContextError(f"read {path}: {error.strerror}") from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        os.close(fd)
        raise ContextError(f"read {path}: it is a directory")
    with open(fd, "rb", buffering=0) as file:
        if stat.S_ISFIFO(mode):
            # Shells give one for `-f <(program)`.
            os.set_blocking(file.fileno(), True)
        data = b""
        while len(data) <= _FILE_LIMIT_BYTES and (part := file.read(1 << 20)):
            data += part
        return _limited(data)


def _read_in(directory: str, name: str, *, local: bool) -> bytes | None:
    """Read a file of a context; in one from elsewhere links are resolved inside it."""
    if local:
        return _read_host(f"{directory}/{name}")
    tree = HostTree(directory)
    try:
        place = resolve(tree, os.fsencode(name))
        if place.missing or not place.node.is_file:
            return None
        with open(tree.open(place.node), "rb", buffering=0) as file:
            return _limited(file.read(_FILE_LIMIT_BYTES + 1) or b"")
    finally:
        tree.close()


def _read_patterns(directory: str, beside: str, ignore_file: str, *, local: bool) -> Patterns:
    """Return the patterns of the ignore file that counts, the first one that there is.

    Raises ContextError, InvalidPattern.
    """
    if ignore_file:
        data = _read_host(ignore_file)
        if data is None:
            raise ContextError(f"ignore file {ignore_file}: there is no such file")
        return _parsed(data, ignore_file)
    if beside:
        for suffix in _IGNORE_SUFFIXES:
            inside = beside.removeprefix(f"{directory}/")
            is_inside = inside != beside
            data = (
                _read_in(directory, inside + suffix, local=local)
                if is_inside
                else _read_host(beside + suffix)
            )
            if data is not None:
                return _parsed(data, os.path.basename(beside) + suffix)
    for name in _IGNORE_SUFFIXES:
        data = _read_in(directory, name, local=local)
        if data is not None:
            return _parsed(data, name)
    return Patterns(())


def _parsed(data: bytes, name: str) -> Patterns:
    try:
        return Patterns(read_ignore_file(data))
    except InvalidPattern as error:
        error.message = f"ignore file {name}: {error.message.removeprefix('ignore file: ')}"
        raise
