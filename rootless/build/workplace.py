"""Where one build works: its user namespace, and a directory of the store for what it fetches."""

import os

from rootless.container.query import remove_abandoned
from rootless.host.probe import storage_driver
from rootless.images import collect, default_key
from rootless.linux.userns import UserNamespace
from storage.build_needs import need
from storage.files import make_store
from storage.gone import has_gone
from storage.layout import Layout
from storage.remove import remove_tree
from storage.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rootless.host.paths import Host

    Emit = Callable[[object], None]


class Workplace:
    """Made once for each build; a context manager. What is fetched goes away with it.

    Entering it removes what builds that were killed have left in the store.
    """

    def __init__(self, host: "Host") -> None:
        make_store(host.layout)
        self.host = host
        self.layout: Layout = host.layout
        self.map_key = default_key(host)
        self._scratch = Scratch(host.layout, "build")
        self._namespace: UserNamespace | None = None
        self._count = 0
        self._driver = ""

    def run(self, function: "Callable[[Emit], object]", on_event: "Emit | None" = None) -> object:
        """Run `function(emit)` as root of the build's user namespace, in a forked child.

        What it returns and emits are JSON values. Raises what it raises, IdMapError.
        """
        return self.namespace.run(function, on_event)

    @property
    def namespace(self) -> UserNamespace:
        """The user namespace of the default id map; its maps are written at the first use."""
        if self._namespace is None:
            self._namespace = UserNamespace(self.host.id_maps())
        return self._namespace

    @property
    def driver(self) -> str:
        """How the root file system of a step is made; a lower rung leaves a note, once."""
        if not self._driver:
            self._driver = storage_driver(self.host)
        return self._driver

    @property
    def has_records(self) -> bool:
        """Whether files on disk cannot have the owners that an image gives them."""
        return self.host.id_maps().is_single

    def need(self, digests: tuple[str, ...], blobs: tuple[str, ...]) -> None:
        """Keep blobs and layers until the build ends, whatever is removed beside it.

        Raises BlobMissing for one of `blobs` that has gone, StoreUnusable, DiskFull.
        """
        need(self.layout, self._scratch.path, digests, blobs)

    def fresh_directory(self) -> str:
        """Return a new empty directory that lasts as long as the build."""
        self._count += 1
        # Stages are built by forked processes: a count alone is not unique.
        path = f"{self._scratch.path}/{os.getpid()}-{self._count}"
        os.mkdir(path, 0o700)
        return path

    def __enter__(self) -> "Workplace":
        remove_abandoned(self.host)
        self._scratch.__enter__()
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        try:
            self._empty()
        finally:
            if self._namespace is not None:
                self._namespace.close()
            self._scratch.__exit__(kind, value, trace)
        if has_gone(self.layout):
            collect(self.host)

    def _empty(self) -> None:
        """Remove what an interrupted step has left: files of other ids of the namespace."""
        left = [
            f"{self._scratch.path}/{name}"
            for name in os.listdir(self._scratch.path)
            if name not in ("lock", "needs")
        ]

        def remove(_: object) -> None:
            for path in left:
                remove_tree(path)

        try:
            remove(None)
        except PermissionError:
            self.run(remove)
