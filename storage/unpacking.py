"""Unpack the layers of an image from its stored blobs, side by side."""

import threading
from queue import Empty, SimpleQueue

from storage.blobs import blob_size, open_blob
from storage.errors import InvalidLayer
from storage.events import NOTE, UNPACK_DONE, Event, ignore
from storage.images import ImageRecord
from storage.layer_set import LayerSet
from storage.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.events import Events

_THREADS = 4  # one or two of them wait for the disk


def ensure_layers(
    layout: Layout, map_key: str, record: ImageRecord, events: "Events | None" = None
) -> None:
    """Unpack what is missing of an image for an id map; runs inside that map's user namespace.

    Raises BlobMissing, InvalidLayer, DigestMismatch, StoreUnusable, DiskFull.
    """
    layers = tuple(zip(record.layer_digests, record.layer_media_types, strict=True))
    unpack_stored(layout, map_key, record.diff_ids, layers, events or ignore)


def unpack_stored(
    layout: Layout,
    map_key: str,
    diff_ids: tuple[str, ...],
    layers: tuple[tuple[str, str], ...],
    events: "Events",
) -> None:
    """Unpack what is missing of the stored `layers`, pairs of blob digest and media type."""
    _Unpacking(layout, LayerSet(layout, map_key, diff_ids), layers, events).run()


class _Unpacking:
    """One call: threads take positions from a queue; the first failure ends all."""

    def __init__(
        self,
        layout: Layout,
        layer_set: LayerSet,
        layers: tuple[tuple[str, str], ...],
        events: "Events",
    ) -> None:
        self._layout = layout
        self._blobs = layers
        self._events = events
        self._layers = layer_set
        self._tasks: SimpleQueue[int] = SimpleQueue()
        self._failures: list[BaseException] = []
        self._telling = threading.Lock()

    def run(self) -> None:
        """Unpack all. Raises the first failure."""
        positions = range(len(self._blobs))
        missing = [
            position
            for position in positions
            if not (
                self._layers.is_unpacked(position)
                and self._layers.is_known(position, self._blobs[position][0])
            )
        ]
        for position in missing:
            self._tasks.put(position)
        with self._layers as layers:
            threads = [
                threading.Thread(target=self._take, daemon=True)
                for _ in range(min(_THREADS, len(missing)))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if self._failures:
                raise self._failures[0]
            layers.finish()

    def _take(self) -> None:
        try:
            while not self._failures:
                self._unpack(self._tasks.get_nowait())
        except Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - top of a thread: raised by `run`
            self._failures.append(error)

    def _unpack(self, position: int) -> None:
        digest, media_type = self._blobs[position]
        with self._layers.lock(position):
            with open(open_blob(self._layout, digest), "rb", buffering=0) as source:
                try:
                    if self._layers.is_unpacked(position):
                        if not self._layers.is_known(position, digest):
                            self._layers.verify(position, source, media_type)
                        return
                    result = self._layers.unpack(position, source, media_type)
                except InvalidLayer as error:
                    raise InvalidLayer(
                        f"unpack layer {digest[:19]}: {error.message}", remedy=error.remedy
                    ) from error
            size = blob_size(self._layout, digest)
        with self._telling:
            for note in result.notes:
                self._events(Event(NOTE, digest, text=note))
            self._events(Event(UNPACK_DONE, digest, size, size))
