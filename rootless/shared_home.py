"""Images of a user whose home many machines share: made on one, kept where all of them read.

`host.layout.store` is this machine's alone, `host.layout.shared` lies in the home. What changes the
shared part holds its lease; what is fetched is fetched by one process of all machines.
"""

import os
import time

from rootless.errors import RootlessError
from rootless.host.paths import Host
from rootless.host.squashfs_tools import squash_kind, why_not_mounted, write_squashfs
from rootless.linux.userns import run_in_userns
from storage.blobs import read_blob
from storage.digest import short_hash
from storage.errors import DiskFull, StorageError, StoreUnusable
from storage.files import Lock, make_store, write_file
from storage.gc import remove_published
from storage.images import (
    ImageRecord,
    RemoveResult,
    choose_names,
    find_image,
    forget_image,
    list_entries,
    own_name,
)
from storage.layers import has_layer, map_key
from storage.layout import Layout
from storage.leases import Lease
from storage.names import delete_name, image_names, set_name
from storage.scratch import Scratch
from storage.shared import publish, withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_STORE_LEASE = "store"
_KEPT_S = 600.0


def shared_layout(host: Host) -> Layout:
    return Layout(host.layout.shared, "")


def fetch_once(
    host: Host,
    name: str,
    find: "Callable[[], ImageRecord | None]",
    fetch: "Callable[[Host], ImageRecord]",
) -> ImageRecord:
    """Return what `find` finds; else fetch it, while all others on all machines wait.

    `fetch` is given a host with a store of its own, which is thrown away when it fails or is
    killed. Raises what both raise.
    """
    what = short_hash(name)
    # Of one machine one process waits for the lease; the others wait without asking a server.
    with (
        Lock(host.layout.lock(f"blob-pull-{what}")),
        Lease(shared_layout(host).leases_dir, f"pull-{what}"),
    ):
        found = find()
        if found is not None:
            return found
        with Scratch(host.layout, "pull") as scratch:
            layout = _staged_layout(host, f"{scratch.path}/store")
            try:
                staged = _staged(host, layout)
                record = fetch(staged)
                _make_squashfs(host, staged.layout, record)
                if not host.id_maps().is_single or why_not_mounted(host):
                    _move_layers(host, staged.layout, record)
                _publish(host, staged.layout, [record])
            except DiskFull as error:
                raise _node_full(host, error) from error
            finally:
                _empty(host, layout)
        for note in staged.notes:
            host.note(note)
    return find_image(host.layout, record.manifest_digest)._replace(names=record.names)


def _staged_layout(host: Host, directory: str) -> Layout:
    own = host.layout
    return Layout(directory, own.run_root, own.additional, own.layer_limits)


def _staged(host: Host, layout: Layout) -> Host:
    make_store(layout)
    return Host(
        layout,
        uid=host.uid,
        gid=host.gid,
        config=host.config,
        environ=host.environ,
        run_root_reason=host.run_root_reason,
    )


def _node_full(host: Host, error: DiskFull) -> DiskFull:
    node = os.path.dirname(os.path.dirname(host.layout.store))
    return DiskFull(
        error.message,
        remedy=f"free space in {node}, or use another directory of this node: RPOD_NODE_ROOT=DIR",
    )


def _empty(host: Host, staged: Layout) -> None:
    """Remove what is left of layers: root of the container may have owners that the user is not."""
    if not os.path.isdir(staged.all_layers_dir):
        return
    try:
        run_in_userns(lambda _: _remove_all(staged), host.id_maps())
    except (RootlessError, StorageError, OSError):
        return  # whoever removes the directory above says what is left


def _remove_all(staged: Layout) -> None:
    from storage.remove import remove_tree

    for path in (staged.all_layers_dir, staged.tmp_dir):
        remove_tree(path)


def settle(host: Host) -> None:
    """Publish what commands have made here (build, commit, load, import), and let go of it here."""
    own = Layout(host.layout.store, "")
    if _is_kept_here(own):
        return
    records = [record for record in list_entries(own) if record.names]
    if not records:
        return
    for record in records:
        if not record.is_index:
            _make_squashfs(host, host.layout, record)
    if _publish(host, host.layout, records):
        for record in records:
            forget_image(host.layout, record)
        run_in_userns(lambda _: remove_published(host.layout), host.id_maps())


def _publish(host: Host, source: Layout, records: "Iterable[ImageRecord]") -> bool:
    """Write images to the shared part; False, with a note, when there is no room for them there.

    They are then kept on this machine. Raises InvalidArchive, BlobMissing.
    """
    try:
        with Lease(shared_layout(host).leases_dir, _STORE_LEASE):
            publish(source, host.layout.shared, records, own=True)
    except (DiskFull, StoreUnusable) as error:
        host.note(f"{error.message}: kept on this node only, in {host.layout.store}")
        if source.store != host.layout.store:
            publish(source, host.layout.store, records, own=True)
        write_file(host.layout.kept_here_file, b"", sync=False)
        return False
    return True


def _is_kept_here(own: Layout) -> bool:
    """Whether nothing has been made since the home was full, and that is not long ago.

    Not every command has to find out again; one of squashfs and blobs is much work for nothing.
    """
    try:
        tried_s = os.stat(own.kept_here_file).st_mtime
    except FileNotFoundError:
        return False
    return os.stat(own.names_dir).st_mtime <= tried_s and time.time() < tried_s + _KEPT_S


def _move_layers(host: Host, source: Layout, record: ImageRecord) -> None:
    maps = host.id_maps()
    key = map_key(maps.uids, maps.gids)
    for chain_id in record.chain_ids:
        target = host.layout.layer(key, chain_id)
        if has_layer(source, key, chain_id) and not os.path.exists(target):
            os.makedirs(os.path.dirname(target), 0o711, exist_ok=True)
            try:
                os.rename(source.layer(key, chain_id), target)
            except OSError:
                if not os.path.exists(target):
                    raise


def _make_squashfs(host: Host, source: Layout, record: ImageRecord) -> None:
    """Make the one file of an image that is unpacked here; what fails is said, and costs time."""
    maps = host.id_maps()
    key = map_key(maps.uids, maps.gids)
    path = shared_layout(host).squash_file(record.image_id, squash_kind(maps))
    if os.path.exists(path) or not all(has_layer(source, key, one) for one in record.chain_ids):
        return
    layers = [source.layer_diff(key, chain) for chain in reversed(record.chain_ids)]
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write_squashfs(host, layers, read_blob(source, record.config_digest), path)
    except (RootlessError, StorageError, OSError) as error:
        text = error.message if isinstance(error, RootlessError | StorageError) else str(error)
        host.note(f"every node will unpack this image: {text}")


def remove_shared(host: Host, record: ImageRecord, text: str, *, force: bool) -> RemoveResult:
    """Remove a name of an image in the shared part, and with the last one the image.

    Raises ImageNotFound, InUse, StoreUnusable.
    """
    target = shared_layout(host)
    with Lease(target.leases_dir, _STORE_LEASE):
        names = image_names(target, record.manifest_digest)
        going, is_last = choose_names(host.layout, record, names, text, force=force)
        for name in going or (text,):
            withdraw(host.layout.shared, name)
        if not is_last:
            return RemoveResult(going, ())
    return RemoveResult(names, (record.image_id,))


def untag_shared(host: Host, record: ImageRecord, names: tuple[str, ...]) -> tuple[str, ...]:
    """Take names from an image of the shared part, all when none is given; it stays.

    Raises ImageNotFound, StoreUnusable.
    """
    target = shared_layout(host)
    going = tuple(own_name(record, name) for name in names) or record.names
    with Lease(target.leases_dir, _STORE_LEASE):
        for name in going:
            delete_name(target, name)
    return going


def tag_shared(host: Host, record: ImageRecord, name: str) -> None:
    """Give an image of the shared part another name. Raises StoreUnusable."""
    target = shared_layout(host)
    with Lease(target.leases_dir, _STORE_LEASE):
        set_name(target, name, record.manifest_digest)
