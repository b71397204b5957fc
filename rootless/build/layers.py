"""The layer that a RUN has left: its upper directory becomes a stored layer."""

import os

from rootless.build.model import Layer, LayerOptions, Tree
from rootless.build.workplace import Workplace
from storage.build.layer_writing import LayerForm, adopt_layer, pack_upper, write_layer
from storage.layers import read_layer
from storage.pack import Packer
from storage.remove import remove_tree
from storage.tar_writer import Times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def commit_upper(
    workplace: Workplace,
    upper: str,
    below: Tree,
    options: LayerOptions,
    tidy: "Callable[[], None] | None" = None,
) -> Layer:
    """Store an upper directory of an overlay, which lies in the store, as a layer on `below`.

    One pass over it writes the blob, and the directory itself becomes the unpacked layer; with
    times that have to be rewritten it is unpacked from the archive, and removed. `tidy` is called
    before, as root of the build's user namespace. Raises StoreUnusable, DiskFull.
    """
    layout, key = workplace.layout, workplace.map_key
    below_ids = tuple(read_layer(layout, key, chain).diff_id for chain in below.chain_ids)
    form = LayerForm(options.compression, same_everywhere=options.latest_s is not None)

    def work(_: object) -> object:
        if tidy is not None:
            tidy()
        if options.latest_s is None:
            return list(adopt_layer(layout, key, below_ids, upper, form)[:4])
        packer = Packer(layer=True, times=Times(options.latest_s, options.exact))
        top = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            written = write_layer(layout, key, below_ids, pack_upper(packer, top), form)
        finally:
            os.close(top)
        remove_tree(upper)
        return list(written[:4])

    found = workplace.run(work)
    assert isinstance(found, list)
    return Layer(*found)
