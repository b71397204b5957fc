"""What running builds need, beside images, containers and steps: kept in files of their work.

A build writes it down before it looks whether it is there; the garbage collection reads it while it
holds `images`. So either the build sees that something has gone, or it stays.
"""

import os

from storage.errors import BlobMissing, from_os_error
from storage.files import Lock, read_file
from storage.layout import Layout
from storage.names import listdir

_FILE = "needs"


def need(layout: Layout, directory: str, digests: tuple[str, ...], blobs: tuple[str, ...]) -> None:
    """Keep digests of blobs and layers for as long as a build's `directory` in `tmp/` is there.

    Several processes of a build may do so at once. Raises BlobMissing for one of `blobs` that has
    gone, StoreUnusable, DiskFull.
    """
    text = "".join(f"{digest.removeprefix('sha256:')}\n" for digest in digests)
    path = f"{directory}/{_FILE}"
    with Lock(layout.lock("images"), shared=True):
        try:
            # One write(2) of a file opened for appending is never mixed with another's.
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise from_os_error(f"write {path}", error) from error
        for digest in blobs:
            if not os.path.exists(layout.blob(digest)):
                raise BlobMissing(f"blob {digest}: it has just been removed")


def needed_by_builds(layout: Layout) -> frozenset[str]:
    """Return the hex digests that builds need; to be held: `images`, exclusively. Raises OSError.

    Of a build that was killed, too, until its work has been swept away.
    """
    found: set[str] = set()
    for name in listdir(layout.tmp_dir):
        if name.startswith("build-"):
            try:
                found.update(read_file(f"{layout.tmp_dir}/{name}/{_FILE}").decode().split())
            except (FileNotFoundError, NotADirectoryError):
                continue
    return frozenset(found)
