"""Call functions of the C library: what we use of ctypes, without the package.

`import ctypes` loads four modules of Python's library, which costs each start 3 ms and 25 look-ups.
The names here are its names and mean the same; they come from `_ctypes`, the C module below it. A
Python whose `_ctypes` has other names gets the package.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        PyDLL,
        Structure,
        addressof,
        byref,
        c_char_p,
        c_int,
        c_long,
        c_size_t,
        c_ssize_t,
        c_uint,
        c_uint32,
        c_uint64,
        c_ulong,
        c_ushort,
        c_void_p,
        create_string_buffer,
        get_errno,
        sizeof,
    )
else:
    try:
        from _ctypes import (
            FUNCFLAG_CDECL,
            FUNCFLAG_PYTHONAPI,
            FUNCFLAG_USE_ERRNO,
            CFuncPtr,
            Structure,
            _SimpleCData,
            addressof,
            byref,
            dlopen,
            get_errno,
            sizeof,
        )
    except ImportError:
        from ctypes import *  # noqa: F403
        from ctypes import get_errno
    else:

        def _simple(code: str) -> type:
            return type(f"c_{code}", (_SimpleCData,), {"_type_": code})

        c_char, c_char_p, c_void_p = _simple("c"), _simple("z"), _simple("P")
        c_ushort, c_int, c_uint = _simple("H"), _simple("i"), _simple("I")
        c_long, c_ulong, c_uint64 = _simple("l"), _simple("L"), _simple("Q")
        c_uint32 = c_uint
        # Both are as wide as a pointer, and so is long on every Linux.
        c_size_t, c_ssize_t = c_ulong, c_long

        class _Function(CFuncPtr):
            _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
            _restype_ = c_int

        class _LockedFunction(CFuncPtr):
            _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI
            _restype_ = c_int

        class CDLL:
            """The functions of a library, as attributes; no name is this process."""

            _kind = _Function

            def __init__(self, name: str | None, *, use_errno: bool) -> None:
                assert use_errno
                self._handle = dlopen(name, 0)

            def __getattr__(self, name: str) -> CFuncPtr:
                function = self._kind((name, self))
                setattr(self, name, function)
                return function

        class PyDLL(CDLL):
            _kind = _LockedFunction

        def create_string_buffer(init: bytes | int, size: int | None = None) -> object:
            """Return an array of characters; a number makes an empty one."""
            if isinstance(init, int):
                return (c_char * init)()
            buffer = (c_char * (len(init) + 1 if size is None else size))()
            buffer.raw = init
            return buffer


__all__ = [
    "CDLL",
    "PyDLL",
    "Structure",
    "addressof",
    "byref",
    "c_char_p",
    "c_int",
    "c_long",
    "c_size_t",
    "c_ssize_t",
    "c_uint",
    "c_uint32",
    "c_uint64",
    "c_ulong",
    "c_ushort",
    "c_void_p",
    "create_string_buffer",
    "get_errno",
    "sizeof",
]
