"""--output: a built root file system as a directory or archive, an image as an archive.

A directory gets what `cp` would write: files of the caller, no link followed, no setuid bits. The
process that reads the layers is root of the build's user namespace, the one that writes is not.
"""

import os

from rootless.build.model import Built
from rootless.build.outputs import DOCKER, LOCAL, OCI, TAR, Output
from rootless.build.workplace import Workplace
from rootless.container.inside import Job
from rootless.errors import UsageError
from storage.build.streams import MergedStream
from storage.layer_tree import LayerTree
from storage.layers import chain_ids
from storage.place import Placer, Rules
from storage.save import DOCKER_ARCHIVE, DOCKER_DIR, OCI_ARCHIVE, OCI_DIR, SavedImage, save_images
from storage.save_target import open_target
from storage.tar_writer import Times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK_BYTES = 1 << 18
_STDOUT = "-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def export_tree(
    workplace: Workplace, built: Built, output: Output, *, times: Times, below: str = ""
) -> None:
    """Write the root file system of a stage to a directory or a tar archive.

    With several platforms each has a directory `below` of its own. Raises UsageError,
    StoreUnusable, DiskFull.
    """
    if output.kind == LOCAL:
        target = os.path.join(output.destination, below) if below else output.destination
        try:
            os.makedirs(target, exist_ok=True)
            top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"--output: write {target}: {error.strerror}") from error
        rules = Rules(overwrite=True, special_bits=False)
        _Stream(workplace, built, times).run(
            lambda chunks: Placer(top, rules, _open_below).place(chunks)
        )
        os.close(top)
        return
    assert output.kind == TAR
    target_file: str | int = 1 if output.destination == _STDOUT else output.destination
    _check_terminal(output)

    def write(chunks: "Iterator[bytes]") -> None:
        with open_target(target_file) as fd:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]

    _Stream(workplace, built, times).run(write)


def _open_below(top: int, path: bytes) -> int:
    """Open a directory below `top` without following any link."""
    fd = os.dup(top)
    for part in path.split(b"/"):
        try:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


class _Stream:
    """The archive of a stage's files, packed by a process in the build's user namespace."""

    def __init__(self, workplace: Workplace, built: Built, times: Times) -> None:
        self._workplace = workplace
        diff_ids = tuple(layer.diff_id for layer in built.layers)
        layout, key = workplace.layout, workplace.map_key
        self._diffs = tuple(
            layout.layer_diff(key, chain) for chain in reversed(chain_ids(diff_ids))
        )
        self._times = times

    def run(self, use: "Callable[[Iterator[bytes]], None]") -> None:
        """Let `use` take the chunks, in a child, while the namespace's process makes them."""
        reader, writer = os.pipe2(os.O_CLOEXEC)

        def receive() -> None:
            os.close(writer)
            use(iter(lambda: os.read(reader, _CHUNK_BYTES), b""))

        receiving = Job(receive)
        os.close(reader)

        def send(_: object) -> None:
            for chunk in MergedStream(
                LayerTree(self._diffs, records=self._workplace.has_records), times=self._times
            ).chunks():
                view = memoryview(chunk)
                while view:
                    view = view[os.write(writer, view) :]

        try:
            self._workplace.run(send)
        except BaseException as error:
            os.close(writer)
            try:
                receiving.result()
            except Exception as cause:
                raise cause from error
            raise
        os.close(writer)
        receiving.result()


def _check_terminal(output: Output) -> None:
    if output.destination == _STDOUT and os.isatty(1):
        raise UsageError(
            "--output: refusing to write an archive to a terminal", remedy="redirect it"
        )


def export_image(workplace: Workplace, image: SavedImage, output: Output) -> None:
    """Write an image, or a list of images, as an archive, or with `tar=false` as a directory.

    Raises UsageError, InvalidArchive, StoreUnusable, DiskFull.
    """
    _check_terminal(output)
    forms = {
        (OCI, True): OCI_ARCHIVE,
        (OCI, False): OCI_DIR,
        (DOCKER, True): DOCKER_ARCHIVE,
        (DOCKER, False): DOCKER_DIR,
    }
    if output.name:
        image = image._replace(names=tuple(output.name.split(",")))
    target: str | int = 1 if output.destination == _STDOUT else output.destination
    save_images(workplace.layout, [image], forms[(output.kind, output.as_tar)], target)
