"""Unpacked layers: `layers/<map key>/<chain hex>/`, made once, then only read.

On the path of `rpod run`: loads nothing heavy at import.
"""

import os

from storage import lightjson as json
from storage.digest import digest_of, short_hash
from storage.errors import BlobMissing, InvalidDocument, from_os_error
from storage.files import Lock, read_file, write_file
from storage.layout import Layout
from storage.oci.checks import as_object, get_size, get_strings, get_text
from storage.record import NamedTuple
from storage.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from storage.unpack import UnpackResult

_VERSION = 1
_RECORD = "layer.json"

IdMap = tuple[tuple[int, int, int], ...]
"""Rows of (container id, host id, count), as in /proc/<pid>/uid_map."""


class LayerRecord(NamedTuple):
    """What is known about an unpacked layer."""

    chain_id: str
    diff_id: str
    size_bytes: int
    entries: int
    notes: tuple[str, ...]


def map_key(uid_map: IdMap, gid_map: IdMap) -> str:
    """Return the name of the directory for layers unpacked with these id maps."""
    rows = [
        ",".join(":".join(map(str, row)) for row in sorted(part)) for part in (uid_map, gid_map)
    ]
    return short_hash("/".join(rows))


def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the chain id of each layer: it names a layer together with all below it.

    OCI image-spec, config: layer chain id.
    """
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(digest_of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return tuple(chains)


def has_layer(layout: Layout, map_key: str, chain_id: str) -> bool:
    """Tell whether a layer is unpacked for an id map."""
    return os.path.exists(layout.layer(map_key, chain_id))


def read_layer(layout: Layout, map_key: str, chain_id: str) -> LayerRecord:
    """Return the record of an unpacked layer. Raises BlobMissing when it is not there."""
    path = f"{layout.layer(map_key, chain_id)}/{_RECORD}"
    try:
        fields = as_object(json.loads(read_file(path)), path)
    except FileNotFoundError as error:
        raise BlobMissing(f"layer {chain_id} is not unpacked") from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error
    except ValueError as error:
        raise InvalidDocument(f"{path}: not JSON ({error})") from error
    return LayerRecord(
        get_text(fields, "chain_id", path),
        get_text(fields, "diff_id", path),
        get_size(fields, "size_bytes", path),
        get_size(fields, "entries", path),
        get_strings(fields, "notes", path) or (),
    )


class LayerBuilder:
    """Builds one layer under `tmp/`: `diff` is the empty directory to unpack into.

    Leaving the context without `publish` throws everything away. When two build the same layer at
    once, the first to publish wins and the other's work is thrown away.
    """

    __slots__ = ("_chain_id", "_layout", "_map_key", "_scratch", "diff")

    def __init__(self, layout: Layout, map_key: str, chain_id: str) -> None:
        self._layout = layout
        self._map_key = map_key
        self._chain_id = chain_id
        self._scratch = Scratch(layout, "layer")
        self.diff = f"{self._scratch.path}/layer/diff"

    def __enter__(self) -> "LayerBuilder":
        self._scratch.__enter__()
        try:
            os.makedirs(self.diff, 0o755)
        except OSError as error:
            self._scratch.__exit__(type(error), error, None)
            raise from_os_error(f"make {self.diff}", error) from error
        return self

    def publish_as(self, chain_id: str, result: "UnpackResult") -> LayerRecord:
        """Publish a layer whose chain id was not known before. Raises StoreUnusable, DiskFull."""
        self._chain_id = chain_id
        return self.publish(result)

    def publish(
        self, result: "UnpackResult", sync: "Callable[[str], None] | None" = None
    ) -> LayerRecord:
        """Let the layer appear under its final name. Raises StoreUnusable, DiskFull.

        `sync` makes a directory durable; by default the file system that it is on.
        """
        from storage.durable import sync_file_system

        record = LayerRecord(
            self._chain_id, result.diff_id, result.size_bytes, result.entries, result.notes
        )
        built = os.path.dirname(self.diff)
        final = self._layout.layer(self._map_key, self._chain_id)
        try:
            data = json.dumps({"version": _VERSION, **record._asdict()}).encode()
            write_file(f"{built}/{_RECORD}", data, sync=False)
            (sync or sync_file_system)(built)
            os.makedirs(os.path.dirname(final), 0o711, exist_ok=True)
            os.rename(built, final)
        except OSError as error:
            if has_layer(self._layout, self._map_key, self._chain_id):
                return record
            raise from_os_error(f"store layer {self._chain_id}", error) from error
        return record

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self._scratch.__exit__(kind, value, trace)


def layer_lock(layout: Layout, chain_id: str) -> Lock:
    """Return the lock under which a layer is unpacked, so that two commands do it once."""
    return Lock(layout.lock(f"layer-{chain_id.removeprefix('sha256:')}"))
