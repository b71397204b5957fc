"""Import our own modules from one file of compiled code, where the installation made one.

Finding a module costs Python more than running it: a dozen system calls and a check of the source
for each of the hundred modules of a start, 5 ms of 40. A wheel built by `contrib/wheel/pack.py` has
`rootless/modules.pack`: an index, and the code of every module, compiled for one version of Python.
Another version, a damaged file or none (a checkout): modules are found as ever.

The pack: 16 bytes of magic number (importlib's, padded) and length of the index, the index
(marshal: name -> offset, size, is package), the code objects (marshal).
"""

import sys
from marshal import loads
from os import O_CLOEXEC, O_RDONLY, close, open, pread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

FILE = "modules.pack"
HEADER_BYTES = 16


def header(index_bytes: int) -> bytes:
    """Return the first bytes of a pack whose index has so many."""
    from _frozen_importlib_external import MAGIC_NUMBER

    magic: bytes = MAGIC_NUMBER
    return magic.ljust(HEADER_BYTES - 4, b"\0") + index_bytes.to_bytes(4, "little")


class Pack:
    """A finder and loader (importlib.abc) of the modules in a pack."""

    def __init__(self, root: str, index: "dict[str, tuple[int, int, bool]]") -> None:
        self._root = root
        self._index = index
        self._path = f"{root}/rootless/{FILE}"
        # Its class is importlib.machinery.ModuleSpec, which would have to be imported.
        assert __spec__ is not None
        self._make_spec = type(__spec__)

    def find_spec(
        self, name: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        entry = self._index.get(name)
        if entry is None:
            return None
        stem = f"{self._root}/{name.replace('.', '/')}"
        if not entry[2]:
            return self._make_spec(name, self, origin=f"{stem}.py")  # type: ignore[arg-type]
        origin = f"{stem}/__init__.py"
        spec = self._make_spec(name, self, origin=origin, is_package=True)  # type: ignore[arg-type]
        spec.submodule_search_locations = [stem]
        return spec

    def create_module(self, spec: "ModuleSpec") -> None:
        """Leave it to importlib."""

    def exec_module(self, module: "ModuleType") -> None:
        offset, size, _ = self._index[module.__name__]
        # Opened each time: a monitor has closed what it inherited.
        fd = open(self._path, O_RDONLY | O_CLOEXEC)
        try:
            code = pread(fd, size, offset)
        finally:
            close(fd)
        spec = module.__spec__
        assert spec is not None
        module.__file__ = spec.origin
        exec(loads(code), module.__dict__)


def use_pack(root: str) -> bool:
    """Find modules in the pack below `root`, the directory of our packages, if it fits."""
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
