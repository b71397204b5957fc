"""Pulling as a regular user, in a user namespace of its own, and looking at the store after it."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from rootless.host.paths import open_host
from rootless.linux.userns import run_in_userns
from storage.errors import StorageError
from storage.events import Event
from storage.images import ImageRecord
from storage.layers import map_key
from storage.layout import Layout
from storage.platform import parse_platform
from storage.reference import parse_reference
from storage.registry.options import PullOptions

QUICK = PullOptions(
    retries=2,
    retry_delay_s=0.01,
    connect_timeout_s=2.0,
    read_timeout_s=0.5,
    document_timeout_s=1.0,
)
"""Options with which a test need not wait."""


class Outcome(NamedTuple):
    """What a pull returned or raised, and what it told on the way."""

    record: ImageRecord | None
    error: StorageError | None
    events: list[Event]

    @property
    def image(self) -> ImageRecord:
        """The image of a pull that went well."""
        assert self.record is not None, self.error
        return self.record

    def kinds(self, digest: str) -> list[str]:
        """Return the kinds of events of one blob, progress left out."""
        return [e.kind for e in self.events if e.digest == digest and e.kind != "blob-progress"]

    def texts(self, kind: str) -> list[str]:
        """Return what the events of one kind say."""
        return [event.text for event in self.events if event.kind == kind]


def pull(
    store: str, name: str, options: PullOptions = QUICK, platform: str | None = None
) -> Outcome:
    """Pull as the calling account; never raises what a pull raises."""
    host = open_host(root=store)
    maps = host.id_maps()
    events: list[Event] = []

    def work(emit: object) -> object:
        from storage.registry.pull import pull_image

        assert callable(emit)
        record = pull_image(
            host.layout,
            parse_reference(name),
            map_key=map_key(maps.uids, maps.gids),
            platform=parse_platform(platform) if platform else None,
            options=options,
            events=lambda event: emit(list(event)),
        )
        return [record.to_json(), record.names]

    def on_event(raw: object) -> None:
        events.append(Event.from_json(raw))

    try:
        result = run_in_userns(work, maps, on_event=on_event)
    except StorageError as error:
        return Outcome(None, error, events)
    assert isinstance(result, list)
    record = ImageRecord.from_json(result[0], "result")
    return Outcome(record._replace(names=tuple(result[1])), None, events)


def layout_of(store: str) -> Layout:
    """Return the paths of a store."""
    return Layout(store, f"{store}/runroot")


def left_over(store: str) -> list[str]:
    """List what a pull that ended must not leave: entries of tmp/, names, images, layers."""
    layout = layout_of(store)
    found = [f"tmp/{name}" for name in os.listdir(layout.tmp_dir)]
    found += [f"names/{name}" for name in os.listdir(layout.names_dir)]
    found += [f"images/{name}" for name in os.listdir(layout.images_dir)]
    return found


def partials(store: str) -> dict[str, int]:
    """Return the partial blobs and their sizes."""
    directory = layout_of(store).partial_dir
    return {name: os.stat(f"{directory}/{name}").st_size for name in os.listdir(directory)}


def files_of(store: str, record: ImageRecord) -> Iterator[tuple[str, bytes]]:
    """Yield the regular files of an unpacked image, lower layers first."""
    layout = layout_of(store)
    (key,) = os.listdir(layout.all_layers_dir)
    for chain in record.chain_ids:
        top = layout.layer_diff(key, chain)
        for directory, _, names in os.walk(top):
            for name in names:
                path = f"{directory}/{name}"
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        yield os.path.relpath(path, top), file.read()
