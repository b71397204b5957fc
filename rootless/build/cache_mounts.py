"""The directories of `RUN --mount=type=cache`: they last, and belong to no layer and no key.

build-cache/mounts/<name>/_data    made by the first step that asks for it
build-cache/mounts/<name>/lock     held by a step while it works: shared, or alone
"""

import contextlib
import hashlib
import os

from rootless.build.layers import open_layers
from rootless.build.model import Tree
from rootless.build.workplace import Workplace
from storage.build.copying import tree_chunks
from storage.errors import from_os_error
from storage.files import Lock
from storage.scratch import Scratch
from storage.unpack import unpack_tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Seed = tuple[Tree, str]

_DATA = "_data"
_LOCK = "lock"
_INSTANCES = 1000


@contextlib.contextmanager
def open_cache(
    workplace: Workplace,
    name: str,
    sharing: str,
    *,
    owner: tuple[int, int],
    mode: int,
    seed: "Seed | None",
) -> "Iterator[str]":
    """Give the directory for a step; `sharing` is shared, private or locked.

    A new one gets `owner` and `mode`, and what `seed` has. Raises StoreUnusable, DiskFull.
    """
    key = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    for number in range(_INSTANCES):
        path = f"{workplace.layout.build_mounts_dir}/{key}" + (f"-{number}" if number else "")
        _make(workplace, path, owner, mode, seed)
        lock = Lock(f"{path}/{_LOCK}", shared=sharing == "shared")
        if not lock.acquire(wait=sharing != "private"):
            continue
        try:
            os.utime(path)
            yield f"{path}/{_DATA}"
        finally:
            lock.release()
        return


def _make(
    workplace: Workplace, path: str, owner: tuple[int, int], mode: int, seed: "Seed | None"
) -> None:
    """Let the directory appear whole, by one rename, if it is not there."""
    if os.path.isdir(path):
        return
    layout = workplace.layout
    with Scratch(layout, "cache") as scratch:
        made = f"{scratch.path}/cache"

        def work(_: object) -> None:
            os.makedirs(f"{made}/{_DATA}", 0o711)
            data = f"{made}/{_DATA}"
            if seed is not None:
                tree, source = seed
                unpack_tar(
                    tree_chunks(open_layers(workplace, tree), source), diff_id=None, target=data
                )
            os.chown(data, *owner)
            os.chmod(data, mode)

        workplace.run(work)
        try:
            os.makedirs(layout.build_mounts_dir, mode=0o711, exist_ok=True)
            os.rename(made, path)
        except OSError as error:
            if not os.path.isdir(path):
                raise from_os_error(f"make {path}", error) from error
