"""The files of an image archive, read once from beginning to end and kept under `tmp/`.

An archive may come from standard input and its table of contents may be its last member, so every
regular file is digested and kept until it is known which of them are blobs of an image.
"""

import errno
import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterator

from storage.digest import digest_of
from storage.errors import (
    DigestMismatch,
    InvalidArchive,
    InvalidDocument,
    InvalidLayer,
    from_os_error,
)
from storage.inflate import Source, peek
from storage.layout import Layout
from storage.limits import Limits, inflate_limited
from storage.oci.checks import DOCUMENT_LIMIT_BYTES, parse_json
from storage.readahead import ReadAhead
from storage.record import NamedTuple
from storage.tar import LINK, REGULAR, SYMLINK, Entry, TarReader

_MEMBERS_LIMIT = 100_000
_LINKS_LIMIT = 16
_CHUNK_BYTES = 1 << 20


class Member(NamedTuple):
    """A file of an archive: where its bytes are now, and what they are."""

    path: str
    size: int
    digest: str


class Files:
    """The files of an archive by name, links resolved."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._members: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._kept = 0

    def find(self, name: str) -> Member | None:
        """Return the file of a name, None when the archive has none."""
        name = _clean(name)
        for _ in range(_LINKS_LIMIT):
            if name in self._members:
                return self._members[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def get(self, name: str) -> Member:
        """Return the file of a name. Raises InvalidArchive."""
        found = self.find(name)
        if found is None:
            raise InvalidArchive(f"{self.where}: the file {name[:200]!r} is missing in it")
        return found

    def document(self, name: str) -> object:
        """Parse a JSON file of the archive. Raises InvalidArchive, InvalidDocument."""
        return parse_json(self.read(self.get(name)), f"{self.where}: {name[:200]}")

    def read(self, member: Member) -> bytes:
        """Return the bytes of a document. Raises InvalidDocument."""
        if member.size > DOCUMENT_LIMIT_BYTES:
            raise InvalidDocument(f"{self.where}: a document of {member.size} bytes is too large")
        with open(member.path, "rb") as file:
            return file.read()

    def adopt(self, layout: Layout, member: Member) -> None:
        """Make a file a blob of the store, too. Raises StoreUnusable, DiskFull.

        The file stays here, so that it can be adopted again when the blob is collected meanwhile.
        """
        target = layout.blob(member.digest)
        if os.path.exists(target):
            return
        try:
            fd = os.open(member.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
            _link(member.path, target)
        except OSError as error:
            raise from_os_error(f"store blob {member.digest}", error) from error


class Spool(Files):
    """The files of a tar archive, compressed or not."""

    def fill(self, source: Source, directory: str, limits: Limits) -> None:
        """Read the whole archive, keeping its files in `directory`.

        Raises InvalidArchive, StoreUnusable, DiskFull.
        """
        compression, start = peek(source)
        ahead = ReadAhead(inflate_limited(start, compression, limits))
        try:
            reader = TarReader(ahead)
            while (entry := reader.next_entry()) is not None:
                self._add(entry, reader, directory)
            reader.drain()
        except InvalidLayer as error:
            raise InvalidArchive(f"{self.where}: {error.message}", remedy=error.remedy) from error
        except OSError as error:
            raise from_os_error(f"unpack {self.where}", error) from error
        finally:
            ahead.close()

    def _add(self, entry: Entry, reader: TarReader, directory: str) -> None:
        if self._kept + len(self._links) >= _MEMBERS_LIMIT:
            raise InvalidArchive(f"{self.where}: more than {_MEMBERS_LIMIT} files")
        name = _clean(os.fsdecode(entry.name))
        if entry.kind in (SYMLINK, LINK):
            # docker save used to link a layer that several images share.
            base = "" if entry.kind == LINK else posixpath.dirname(name)
            self._links[name] = _clean(posixpath.join(base, os.fsdecode(entry.link)))
        elif entry.kind == REGULAR and entry.segments is None:
            self._kept += 1
            self._members[name] = keep_member(reader.data(), f"{directory}/{self._kept}")


class OciDirectory(Files):
    """The files of an OCI image layout in a directory; what is read is copied first."""

    def __init__(self, where: str, directory: str, scratch: str) -> None:
        super().__init__(where)
        self._directory = directory
        self._scratch = scratch

    def find(self, name: str) -> Member | None:
        """Copy a file of the layout, so that nobody can change it while it is used."""
        name = _clean(name)
        if name in self._members:
            return self._members[name]
        if ".." in name.split("/"):
            return None
        try:
            with open(f"{self._directory}/{name}", "rb", buffering=0) as file:
                pieces = iter(lambda: memoryview(file.read(_CHUNK_BYTES) or b""), memoryview(b""))
                member = keep_member(pieces, f"{self._scratch}/{len(self._members)}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise from_os_error(f"read {self._directory}/{name}", error) from error
        self._members[name] = member
        return member


class PlainDirectory(OciDirectory):
    """The files of a directory of the `dir` transport: blobs lie in it under their bare digest."""

    def find(self, name: str) -> Member | None:
        """Copy a file of the directory, as OciDirectory does."""
        return super().find(name.removeprefix("blobs/sha256/"))


def get_blob(files: Files, digest: str) -> Member:
    """Return a blob of an OCI image layout, checked. Raises InvalidArchive, DigestMismatch."""
    member = files.get(f"blobs/sha256/{digest.removeprefix('sha256:')}")
    if member.digest != digest:
        raise DigestMismatch(f"{files.where}: blob {digest} has the digest {member.digest}")
    return member


def read_blob_of(files: Files, digest: str) -> bytes:
    """Return a document of an OCI image layout, checked. Raises as `get_blob`, InvalidDocument."""
    data = files.read(get_blob(files, digest))
    if digest_of(data) != digest:
        raise DigestMismatch(f"{files.where}: blob {digest} has changed")
    return data


def keep_member(pieces: Iterator[memoryview], path: str) -> Member:
    """Write a file of an archive to `path`, digested on the way. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "xb", buffering=0) as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            while piece:
                piece = piece[file.write(piece) :]
    return Member(path, size, f"sha256:{digest.hexdigest()}")


def _link(path: str, target: str) -> None:
    try:
        os.link(path, target)
    except FileExistsError:
        pass
    except OSError as error:
        # File systems without hard links.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        temporary = f"{path}.copy"
        shutil.copyfile(path, temporary)
        os.rename(temporary, target)


def _clean(name: str) -> str:
    return posixpath.normpath(name).removeprefix("./").lstrip("/")
