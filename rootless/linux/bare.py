"""Functions of the C library without `ctypes`, which takes 300 KiB of a process that stays.

For the processes beside a container; whoever counts milliseconds and not memory has
`rootless.linux.syscalls`. This has the C module below `ctypes`.
"""

import _ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE = 4
_CAPABILITY_VERSION_3 = 0x20080522


class Word(_ctypes._SimpleCData):  # type: ignore[type-arg] # no generic class at run time
    """An address or a size: a bare number is a C int."""

    _type_ = "P"


def function(name: str) -> "Callable[..., int]":
    """Return a function of the C library: of ints, `Word`s and bytes, to an int.

    Raises OSError where there is none of that name.
    """
    process = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type] # dlopen(3): NULL
    address = _ctypes.dlsym(process, name)
    return lambda *arguments: int(_ctypes.call_function(address, arguments))


def enter_network(fds: tuple[int, ...], capabilities: int) -> None:
    """Join the user and network namespaces of a process and keep only these capabilities.

    `fds`: a pidfd, or the two namespaces, one after the other.
    Nobody there may look into this process then, whatever it shares with it. Raises OSError.
    """
    import sys

    both = (_CLONE_NEWUSER, _CLONE_NEWNET)
    kinds = (sum(both),) if len(fds) == 1 else both
    setns = function("setns")
    if any(setns(fd, kind) for fd, kind in zip(fds, kinds, strict=True)):
        raise OSError("setns: join the network of the container")
    if function("prctl")(_PR_SET_DUMPABLE, Word(0), Word(0), Word(0), Word(0)):
        raise OSError("prctl: PR_SET_DUMPABLE")
    numbers = (_CAPABILITY_VERSION_3, 0), (capabilities, capabilities, 0, 0, 0, 0)
    # capset(2): little words of each set, then the high ones
    header, sets = (b"".join(n.to_bytes(4, sys.byteorder) for n in ns) for ns in numbers)
    if function("capset")(header, sets):
        raise OSError("capset: keep what forwarding takes")
