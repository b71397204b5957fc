"""Import our own modules from one file of compiled code, where the installation made one.

Finding a module costs Python more than running it: a dozen system calls and a check of the source
for each of the hundred modules of a start, 5 ms of 40. A wheel built by `contrib/wheel/pack.py` has
`rootless/modules.pack`: an index, and the code of every module, compiled for one version of Python.
Another version, a damaged file or none (a checkout): modules are found as ever.

The pack: 16 bytes of magic number (importlib's, padded) and length of the index, the index
(marshal: name -> offset, size, is package, modules of ours that it imports when it is run), the
code objects (marshal).

As long as there is one thread, the modules that a module imports are run before it and put into
`sys.modules` by ourselves: the import system's way of finding and locking each costs 20
microseconds more.
"""

import sys
from _thread import _count as count_threads
from marshal import loads
from os import O_CLOEXEC, O_RDONLY, close, environ, open, pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Entry = tuple[int, int, bool, tuple[str, ...]]

FILE = "modules.pack"
HEADER_BYTES = 16


def header(index_bytes: int) -> bytes:
    """Return the first bytes of a pack whose index has so many."""
    from _frozen_importlib_external import MAGIC_NUMBER

    magic: bytes = MAGIC_NUMBER
    return magic.ljust(HEADER_BYTES - 4, b"\0") + index_bytes.to_bytes(4, "little")


class Pack:
    """A finder and loader (importlib.abc) of the modules in a pack."""

    def __init__(self, root: str, index: "dict[str, Entry]") -> None:
        self._root = root
        self._index = index
        self._path = f"{root}/rootless/{FILE}"
        # Their classes are importlib.machinery.ModuleSpec and types.ModuleType, which would have
        # to be imported.
        assert __spec__ is not None
        self._make_spec = type(__spec__)
        self._make_module = type(sys)

    def find_spec(
        self, name: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        entry = self._index.get(name)
        if entry is None:
            return None
        origin = self._origin(name, is_package=entry[2])
        spec = self._make_spec(name, self, origin=origin, is_package=entry[2])  # type: ignore[arg-type]
        if entry[2]:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    def create_module(self, spec: "ModuleSpec") -> None:
        """Leave it to importlib."""

    def exec_module(self, module: "ModuleType") -> None:
        entry = self._index[module.__name__]
        # Opened each time: a monitor has closed what it inherited.
        fd = open(self._path, O_RDONLY | O_CLOEXEC)
        try:
            if count_threads() == 0:  # besides this one
                for name in entry[3]:
                    if name not in sys.modules:
                        self._load(fd, name)
            module.__file__ = self._origin(module.__name__, is_package=entry[2])
            self._execute(fd, entry, module)
        finally:
            close(fd)

    def _load(self, fd: int, name: str) -> None:
        """Do what importlib does for a module that nobody has imported yet."""
        parent, _, child = name.rpartition(".")
        if parent and parent not in sys.modules:
            self._load(fd, parent)
        entry = self._index[name]
        for needed in entry[3]:
            if needed not in sys.modules:
                self._load(fd, needed)
        module = self._make_module(name)
        module.__file__ = origin = self._origin(name, is_package=entry[2])
        module.__package__ = name if entry[2] else parent
        if entry[2]:
            module.__path__ = [origin.rpartition("/")[0]]
        sys.modules[name] = module
        try:
            self._execute(fd, entry, module)
        except BaseException:
            del sys.modules[name]
            raise
        if parent:
            setattr(sys.modules[parent], child, module)

    def _origin(self, name: str, *, is_package: bool) -> str:
        stem = f"{self._root}/{name.replace('.', '/')}"
        return f"{stem}/__init__.py" if is_package else f"{stem}.py"

    @staticmethod
    def _execute(fd: int, entry: "Entry", module: "ModuleType") -> None:
        exec(loads(pread(fd, entry[1], entry[0])), module.__dict__)


def use_pack(root: str) -> bool:
    """Find modules in the pack below `root`, the directory of our packages, if it fits.

    Its code knows no line numbers, so somebody who wants to see tracebacks gets the source.
    """
    if "RPOD_DEBUG" in environ:
        return False
    try:
        fd = open(f"{root}/rootless/{FILE}", O_RDONLY | O_CLOEXEC)
    except OSError:
        return False
    try:
        start = pread(fd, HEADER_BYTES, 0)
        size = int.from_bytes(start[-4:], "little")
        if start != header(size):
            return False
        index = loads(pread(fd, size, HEADER_BYTES))
    except (EOFError, TypeError, ValueError, OSError):
        return False
    finally:
        close(fd)
    sys.meta_path.insert(0, Pack(root, index))
    return True


use_pack(__file__.rpartition("/")[0].rpartition("/")[0])
