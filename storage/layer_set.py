"""The layers of one image on their way to disk: side by side, in any order, each one whole."""

import contextlib
import threading

from storage.durable import GroupSync
from storage.files import Lock
from storage.images import list_images
from storage.inflate import Source
from storage.layers import (
    LayerBuilder,
    chain_ids,
    has_layer,
    layer_lock,
)
from storage.layout import Layout
from storage.limits import layer_limits
from storage.unpack import UnpackResult, check_diff_id, unpack_layer


class LayerSet:
    """Unpacks layers of one image for one id map; `unpack` may be called from several threads.

    A hard link may point into a lower layer. Such a layer is kept back until all are there, which
    `finish` waits for. Use as a context manager: on the way out what is not published is removed.
    """

    def __init__(self, layout: Layout, map_key: str, diff_ids: tuple[str, ...]) -> None:
        self._layout = layout
        self._map_key = map_key
        self._diff_ids = diff_ids
        self._chains = chain_ids(diff_ids)
        self._stack = contextlib.ExitStack()
        self._guard = threading.Lock()
        self._disk = GroupSync()
        self._limits = layer_limits(layout)
        self._known: frozenset[tuple[str, str]] | None = None
        self._held: dict[int, tuple[LayerBuilder, UnpackResult]] = {}

    def is_unpacked(self, position: int) -> bool:
        """Tell whether a layer is there; `position` counts from the lowest."""
        return has_layer(self._layout, self._map_key, self._chains[position])

    def lock(self, position: int) -> Lock:
        """Return the lock to hold from the look whether a layer is there until it is."""
        return layer_lock(self._layout, self._chains[position])

    def is_known(self, position: int, digest: str) -> bool:
        """Tell whether a blob is known to unpack to what the configuration promises here.

        A layer that is there was perhaps made of another blob: an image may promise a layer that
        another one has, and bring something else.
        """
        with self._guard:
            if self._known is None:
                self._known = frozenset(
                    pair
                    for record in list_images(self._layout)
                    for pair in zip(record.layer_digests, record.diff_ids, strict=True)
                )
            return (digest, self._diff_ids[position]) in self._known

    def verify(self, position: int, source: Source, media_type: str) -> None:
        """Read a layer that is there already, and check that it is what was promised.

        Raises InvalidLayer, DigestMismatch, and what `source.read` raises.
        """
        check_diff_id(
            source,
            media_type=media_type,
            diff_id=self._diff_ids[position],
            limits=self._limits,
        )

    def unpack(self, position: int, source: Source, media_type: str) -> UnpackResult:
        """Unpack a layer and publish it.

        Raises InvalidLayer, DigestMismatch, StoreUnusable, and what `source.read` raises.
        """
        builder = LayerBuilder(self._layout, self._map_key, self._chains[position])
        with contextlib.ExitStack() as stack:
            stack.enter_context(builder)
            result = unpack_layer(
                source,
                media_type=media_type,
                diff_id=self._diff_ids[position],
                target=builder.diff,
                limits=self._limits,
            )
            if not result.missing_links:
                builder.publish(result, self._disk.sync)
                return result
            with self._guard:
                self._held[position] = (builder, result)
                self._stack.push(stack.pop_all())
        return result

    def finish(self) -> None:
        """Publish the layers that waited for lower ones, and clean up after killed commands.

        Raises InvalidLayer, StoreUnusable.
        """
        from storage.links import link_across
        from storage.scratch import sweep

        for position in sorted(self._held):
            builder, result = self._held.pop(position)
            lower = [
                self._layout.layer_diff(self._map_key, chain) for chain in self._chains[:position]
            ]
            added = link_across(builder.diff, lower, result.missing_links)
            builder.publish(result._replace(size_bytes=result.size_bytes + added), self._disk.sync)
        sweep(self._layout)

    def __enter__(self) -> "LayerSet":
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()
