"""Remove what no image and no container needs any more.

What a removed image needed goes at once. Anything else that nothing needs may be the work of a
command that is still running, so it goes when it is a day old. Runs inside the user namespace of
the layers' id map, whose root may remove files of any owner in it.
"""

import contextlib
import os
import time

from storage.build_cache import list_steps, take_gone_steps
from storage.build_needs import needed_by_builds
from storage.containers import read_record
from storage.errors import ContainerNotFound, InvalidDocument, from_os_error
from storage.files import Lock
from storage.gone import take_gone
from storage.images import ImageRecord, all_digests, list_entries
from storage.layout import Layout
from storage.names import listdir
from storage.record import NamedTuple
from storage.remove import remove_tree
from storage.scratch import Departure, is_free, sweep

STRAY_AGE_S = 24 * 3600.0
PARTIAL_AGE_S = 7 * 24 * 3600.0
_COPY_AGE_S = 3600.0


class CollectResult(NamedTuple):
    """How much was removed; `freed_bytes` counts blobs, not layers."""

    blobs: int
    layers: int
    freed_bytes: int


class _Needs(NamedTuple):
    """What must stay: blobs by file name, layers by chain (all maps) and by (map key, chain).

    What running `builds` need is among the blobs and the chains.
    """

    blobs: frozenset[str]
    chains: frozenset[str]
    layers: frozenset[tuple[str, str]]
    is_certain: bool
    builds: frozenset[str]


def collect(
    layout: Layout,
    *,
    now_s: float | None = None,
    default_key: str = "",
    left: tuple[str, ...] = (),
) -> CollectResult:
    """Remove unneeded blobs and layers, old partial downloads and abandoned temporary files.

    With a `default_key` also the layers of other id maps that no container has: they can be
    unpacked again. `left` are digests of blobs and layers of an image that has just been removed.

    Works on a full disk. Raises StoreUnusable.
    """
    now_s = time.time() if now_s is None else now_s
    limit_s = now_s - STRAY_AGE_S
    sweep(layout)
    result = CollectResult(0, 0, 0)
    try:
        # Trees are removed when the stack unwinds, after the lock has been released.
        with contextlib.ExitStack() as trash:
            with Lock(layout.lock("images")):
                needs = _find_needs(layout)
                if needs.is_certain:
                    condemned = _condemned(take_gone(layout, needs.builds))
                    condemned |= _condemned_steps(layout, needs.builds)
                    condemned |= frozenset(map(_hex, left))
                    blobs, freed_bytes = _remove_blobs(layout, needs, condemned, limit_s)
                    paths = _unneeded_layers(layout, needs, condemned, limit_s)
                    if default_key:
                        limit = now_s - _COPY_AGE_S
                        paths += _unused_copies(layout, needs, default_key, limit, set(paths))
                    if paths:
                        _move_away(paths, trash.enter_context(Departure(layout)))
                    result = CollectResult(blobs, len(paths), freed_bytes)
            _remove_partials(layout, now_s - PARTIAL_AGE_S)
            _remove_locks(layout)
    except OSError as error:
        raise from_os_error(f"collect garbage in {layout.store}", error) from error
    return result


def _condemned(gone: list[ImageRecord]) -> frozenset[str]:
    return frozenset(
        _hex(digest)
        for record in gone
        for digest in (
            record.manifest_digest,
            record.view_digest,
            record.config_digest,
            *record.layer_digests,
            *record.chain_ids,
        )
    )


def _condemned_steps(layout: Layout, in_use: frozenset[str]) -> frozenset[str]:
    return frozenset(
        _hex(digest)
        for step in take_gone_steps(layout, in_use)
        for digest in (step.digest, step.chain_id)
        if digest
    )


def _find_needs(layout: Layout) -> _Needs:
    blobs: set[str] = set()
    chains: set[str] = set()
    layers: set[tuple[str, str]] = set()
    is_certain = True
    for record in list_entries(layout):
        blobs.update(map(_hex, (record.manifest_digest, record.view_digest, record.config_digest)))
        blobs.update(map(_hex, record.layer_digests))
        # Also those of images in additional stores: what was unpacked of them is still of use.
        chains.update(map(_hex, record.chain_ids))
    for step, _ in list_steps(layout):
        blobs.add(_hex(step.digest))
        chains.add(_hex(step.chain_id))
    for container_id in listdir(layout.containers_dir):
        try:
            container = read_record(layout, container_id)
        except ContainerNotFound:
            continue
        except InvalidDocument:
            # It may need anything: until it is removed nothing is collected.
            is_certain = False
            continue
        for chain in (*container.chain_ids, *container.image_mounts):
            layers.add((container.map_key, _hex(chain)))
    builds = needed_by_builds(layout)
    return _Needs(builds.union(blobs), builds.union(chains), frozenset(layers), is_certain, builds)


def remove_published(layout: Layout) -> None:
    """Remove the blobs of images that are gone from here, as another store has them now.

    Their unpacked layers stay: they are of use for what that store has. Raises StoreUnusable.
    """
    try:
        with Lock(layout.lock("images")):
            needs = _find_needs(Layout(layout.store, ""))
            condemned = frozenset(
                _hex(digest)
                for record in take_gone(layout, needs.builds)
                for digest in all_digests(record)
            )
            _remove_blobs(layout, needs, condemned, 0.0)
    except OSError as error:
        raise from_os_error(f"remove blobs in {layout.store}", error) from error


def _unneeded_layers(
    layout: Layout, needs: _Needs, condemned: frozenset[str], limit_s: float
) -> list[str]:
    paths = []
    for map_key in listdir(layout.all_layers_dir):
        if not os.access(layout.layers_dir(map_key), os.R_OK | os.W_OK):
            continue  # made with subordinate ids that the user has no more
        for name in listdir(layout.layers_dir(map_key)):
            path = layout.layer(map_key, name)
            if name in needs.chains or (map_key, name) in needs.layers:
                continue
            if name in condemned or os.lstat(path).st_mtime < limit_s:
                paths.append(path)
    return paths


def _unused_copies(
    layout: Layout, needs: _Needs, default_key: str, limit_s: float, known: set[str]
) -> list[str]:
    """Return layers of other maps than the default one; the young may be for a run that begins."""
    paths = []
    for map_key in listdir(layout.all_layers_dir):
        if map_key == default_key or not os.access(layout.layers_dir(map_key), os.R_OK | os.W_OK):
            continue
        for name in listdir(layout.layers_dir(map_key)):
            path = layout.layer(map_key, name)
            if (map_key, name) in needs.layers or path in known:
                continue
            if os.lstat(path).st_mtime < limit_s:
                paths.append(path)
    return paths


def _move_away(paths: list[str], gone: Departure) -> None:
    for number, path in enumerate(paths):
        os.rename(path, gone.place(str(number)))


def _remove_blobs(
    layout: Layout, needs: _Needs, condemned: frozenset[str], limit_s: float
) -> tuple[int, int]:
    removed = freed_bytes = 0
    for name in listdir(layout.blobs_dir):
        if name in needs.blobs:
            continue
        path = layout.blob(name)
        found = os.lstat(path)
        if name in condemned or found.st_mtime < limit_s:
            os.unlink(path)
            removed += 1
            freed_bytes += found.st_size
    return removed, freed_bytes


def _remove_partials(layout: Layout, limit_s: float) -> None:
    for name in listdir(layout.partial_dir):
        path = f"{layout.partial_dir}/{name}"
        lock = Lock(layout.lock(f"blob-{name}"))
        try:
            if os.lstat(path).st_mtime < limit_s and is_free(lock):
                remove_tree(path)
        except FileNotFoundError:
            # Completed just now.
            continue
        finally:
            lock.release()


def _remove_locks(layout: Layout) -> None:
    """Remove the lock files of layers and blobs that nobody works on."""
    for name in listdir(layout.locks_dir):
        if name.startswith(("layer-", "blob-")):
            lock = Lock(layout.lock(name))
            if lock.acquire(wait=False):
                os.unlink(lock.path)
                lock.release()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
