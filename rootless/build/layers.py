"""The layer that a step has left: a directory of changes becomes a stored layer."""

import errno
import os
import time

from rootless.build.errors import BuildError
from rootless.build.model import Layer, LayerOptions, Tree
from rootless.build.workplace import Workplace
from storage.build.copying import CopyRules, directory_chunks
from storage.build.errors import BuildInputError
from storage.build.layer_writing import LayerForm, adopt_layer, pack_upper, write_layer
from storage.errors import from_os_error
from storage.layer_tree import LayerTree
from storage.layers import read_layer
from storage.pack import OwnerOf, Packer, recorded_owner
from storage.record import NamedTuple
from storage.remove import remove_tree
from storage.tar_writer import Times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Changes(NamedTuple):
    """A directory in the store with what a step has changed, as an overlay leaves it.

    `tidy` is called first, as root of the build's user namespace. `owner_of` says who owns a file
    where the files themselves do not.
    """

    path: str
    tidy: "Callable[[], None]"
    owner_of: OwnerOf = recorded_owner


def commit(workplace: Workplace, changes: Changes, below: Tree, options: LayerOptions) -> Layer:
    """Store the changes as a layer on `below`.

    One pass over them writes the blob, and the directory itself becomes the unpacked layer; where
    times have to be rewritten that is unpacked from the archive. Raises StoreUnusable, DiskFull,
    BuildInputError for what cannot be in an image.
    """
    layout, key = workplace.layout, workplace.map_key
    below_ids = _diff_ids(workplace, below)
    form = _form(options)
    packer = Packer(
        layer=True,
        times=Times(options.latest_s, options.exact),
        owner_of=changes.owner_of,
    )

    def store(_: object) -> object:
        try:
            return work()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise BuildInputError(
                    "store what the step has changed: a file has a path of more than 4096 bytes",
                    remedy="let the step remove such files, or write them to a cache mount",
                ) from error
            raise from_os_error("store what the step has changed", error) from error

    def work() -> object:
        changes.tidy()
        if options.latest_s is None:
            return list(adopt_layer(layout, key, below_ids, changes.path, packer, form)[:4])
        top = os.open(changes.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            written = write_layer(layout, key, below_ids, pack_upper(packer, top), form)
        finally:
            os.close(top)
        remove_tree(changes.path)
        return list(written[:4])

    found = workplace.run(store)
    assert isinstance(found, list)
    return Layer(*found)


def make_directory(
    workplace: Workplace, path: str, below: Tree, options: LayerOptions
) -> Layer | None:
    """Make a layer with a directory and those above it, mode 0755; None when there is one.

    Links lead to places in the root. Raises BuildError, StoreUnusable, DiskFull.
    """
    layout, key = workplace.layout, workplace.map_key
    below_ids = _diff_ids(workplace, below)
    times = Times(options.latest_s, options.exact)
    rules = CopyRules(path, into=True, now_ns=time.time_ns(), times=times)

    def work(_: object) -> object:
        chunks = directory_chunks(open_layers(workplace, below), rules)
        if chunks is None:
            return None
        return list(write_layer(layout, key, below_ids, chunks, _form(options))[:4])

    try:
        found = workplace.run(work)
    except BuildInputError as error:
        raise BuildError(f"make the directory {path}: {error.message}") from error
    assert found is None or isinstance(found, list)
    return None if found is None else Layer(*found)


def open_layers(workplace: Workplace, tree: Tree) -> LayerTree:
    """Return unpacked layers as a tree; it is read as root of the build's user namespace."""
    layout, chains = workplace.layout, tree.chain_ids
    diffs = (layout.layer_diff(tree.map_key, chain) for chain in reversed(chains))
    return LayerTree(tuple(diffs), records=workplace.has_records)


def _diff_ids(workplace: Workplace, below: Tree) -> tuple[str, ...]:
    layout, key = workplace.layout, workplace.map_key
    return tuple(read_layer(layout, key, chain).diff_id for chain in below.chain_ids)


def _form(options: LayerOptions) -> LayerForm:
    return LayerForm(options.compression, same_everywhere=options.latest_s is not None)
