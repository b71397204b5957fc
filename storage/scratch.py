"""A directory under `tmp/` in which something is built, owned by whoever holds its lock.

The kernel frees the lock at death, so an entry whose lock can be taken belongs to nobody.
`locks/tmp` closes the gap between making an entry and locking it.
"""

import errno
import os

from storage.errors import from_os_error
from storage.files import Lock
from storage.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_LOCK_FILE = "lock"
_SWEEP_LOCK = "tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Scratch:
    """A fresh directory, removed on the way out with whatever is still in it."""

    __slots__ = ("_layout", "_lock", "path")

    def __init__(self, layout: Layout, kind: str) -> None:
        self._layout = layout
        self.path = f"{layout.tmp_dir}/{kind}-{os.getpid()}-{os.urandom(6).hex()}"
        self._lock = Lock(f"{self.path}/{_LOCK_FILE}")

    def __enter__(self) -> "Self":
        try:
            self._make()
        except OSError as error:
            raise from_os_error(f"make {self.path}", error) from error
        return self

    def _make(self) -> None:
        with Lock(self._layout.lock(_SWEEP_LOCK), shared=True):
            os.mkdir(self.path, 0o711)
            try:
                self._lock.acquire()
            except BaseException:
                os.rmdir(self.path)
                raise

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        try:
            self._clear()
        except OSError as error:
            if value is None:
                raise from_os_error(f"remove {self.path}", error) from error
            value.add_note(f"and {self.path} could not be removed: {error}")
        finally:
            self._lock.release()

    def _clear(self) -> None:
        _discard(self._layout, self.path)


class Departure(Scratch):
    """Where to rename what is to go: it disappears in one step, and is removed on the way out.

    On a full disk there is no room for the directory: then it goes into `tmp/` itself, without a
    lock, where a sweep may remove it at the same time.
    """

    __slots__ = ("_bare",)

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, "gone")
        self._bare: list[str] | None = None

    def _make(self) -> None:
        try:
            super()._make()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._bare = []

    def place(self, name: str) -> str:
        """Return a path for one thing that goes; `name` has no hyphen."""
        if self._bare is None:
            return f"{self.path}/{name}"
        self._bare.append(f"{self.path}.{name}")
        return self._bare[-1]

    def _clear(self) -> None:
        if self._bare is None:
            super()._clear()
            return
        from storage.remove import remove_tree

        for path in self._bare:
            remove_tree(path)


def open_scratch_file(layout: Layout, kind: str) -> tuple[str, Lock, int]:
    """Make a file under `tmp/`: its path, its lock, held, and a descriptor. Raises OSError."""
    path = f"{layout.tmp_dir}/{kind}-{os.getpid()}-{os.urandom(6).hex()}"
    lock = Lock(path)
    with Lock(layout.lock(_SWEEP_LOCK), shared=True):
        lock.acquire()
        try:
            return path, lock, os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except BaseException:
            lock.release()
            raise


def sweep(layout: Layout) -> int:
    """Remove the entries that nobody holds; return how many. Raises StoreUnusable."""
    stale: list[tuple[str, Lock]] = []
    try:
        with Lock(layout.lock(_SWEEP_LOCK)):
            for name in os.listdir(layout.tmp_dir):
                path = f"{layout.tmp_dir}/{name}"
                lock = Lock(f"{path}/{_LOCK_FILE}" if os.path.isdir(path) else path)
                if is_free(lock):
                    stale.append((path, lock))
        for path, _ in stale:
            _discard(layout, path)
    except OSError as error:
        raise from_os_error(f"clean {layout.tmp_dir}", error) from error
    finally:
        for _, lock in stale:
            lock.release()
    return len(stale)


def is_free(lock: Lock) -> bool:
    """Take a lock; on a full disk one that is not there is free, and cannot be made.

    Raises OSError.
    """
    try:
        return lock.acquire(wait=False)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return True


def is_held(layout: Layout, kind: str) -> bool:
    """Tell whether somebody works on an entry of this kind now. Raises StoreUnusable."""
    sweep(layout)
    try:
        return any(name.startswith(f"{kind}-") for name in os.listdir(layout.tmp_dir))
    except OSError as error:
        raise from_os_error(f"read {layout.tmp_dir}", error) from error


def has_abandoned(layout: Layout) -> bool:
    """Tell whether an entry's maker is gone; a look at names, so it costs next to nothing.

    A process id may have been given to another process since: then a later look finds the entry.
    """
    try:
        names = os.listdir(layout.tmp_dir)
    except OSError:
        return False
    makers = {name.split("-")[-2] for name in names if name.count("-") >= 2}
    return any(not os.path.exists(f"/proc/{maker}") for maker in makers)


def _discard(layout: Layout, path: str) -> None:
    """Remove an entry whose lock the caller holds.

    The lock file goes last, while nobody sweeps: whoever finds the entry without it would take a
    lock of his own, and remove what is being removed.
    """
    from storage.remove import remove_tree

    if os.path.isdir(path):
        for name in os.listdir(path):
            if name != _LOCK_FILE:
                remove_tree(f"{path}/{name}")
    with Lock(layout.lock(_SWEEP_LOCK), shared=True):
        remove_tree(path)
