"""Programs of other architectures: what executes them here, and how the kernel is told.

qemu's user-mode emulators are programs of the host. Where root has registered them with binfmt_misc
they work in every container. Since Linux 6.7 a user namespace has a binfmt_misc of its own
(Documentation/admin-guide/binfmt-misc.rst), so they need not be.
"""

import os

from rootless.host.programs import find_program
from rootless.sandbox.child import Plan
from rootless.sandbox.foreign import ForeignPrograms
from rootless.sandbox.operations import WorkingDirectory
from storage.platform import host_platform
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

REGISTERED = "/proc/sys/fs/binfmt_misc"
_LITTLE, _BIG = 1, 2
_BITS_32, _BITS_64 = 1, 2
_HEADER_BYTES = 64
_PT_INTERP = 3
# F: the emulator is opened now, by its path on the host. P: it is told the program's own argv[0].
# C: a setuid program keeps its rights. All as in Debian's and Fedora's packages.
_FLAGS = "CFP"


class _Machine(NamedTuple):
    """How qemu calls an architecture, and its ELF header: class, byte order, e_machine (elf.h)."""

    qemu: str
    bits: int
    order: int
    number: int


_MACHINES = {
    "386": _Machine("i386", _BITS_32, _LITTLE, 3),
    "amd64": _Machine("x86_64", _BITS_64, _LITTLE, 62),
    "arm": _Machine("arm", _BITS_32, _LITTLE, 40),
    "arm64": _Machine("aarch64", _BITS_64, _LITTLE, 183),
    "loong64": _Machine("loongarch64", _BITS_64, _LITTLE, 258),
    "mips64le": _Machine("mips64el", _BITS_64, _LITTLE, 8),
    "ppc64le": _Machine("ppc64le", _BITS_64, _LITTLE, 21),
    "riscv64": _Machine("riscv64", _BITS_64, _LITTLE, 243),
    "s390x": _Machine("s390x", _BITS_64, _BIG, 22),
}
# What a processor executes besides its own.
_ALSO = {"amd64": ("386",), "arm64": ("arm",)}


def is_foreign(architecture: str) -> bool:
    """Whether programs of an architecture (GOARCH) need an emulator on this machine."""
    own = host_platform().architecture
    return architecture != own and architecture not in _ALSO.get(own, ())


def allow_foreign(plan: Plan, architecture: str, environ: "Mapping[str, str]") -> None:
    """Let a container execute programs of an architecture, where an emulator is here for it."""
    rule = registration(architecture, environ)
    if rule:
        places = [isinstance(one, WorkingDirectory) for one in plan.operations]
        plan.operations.insert(places.index(True), ForeignPrograms(rule))


def registration(architecture: str, environ: "Mapping[str, str]") -> bytes:
    """Return what binfmt_misc has to be told; b"" where nothing is needed, or there is no emulator.

    An emulator that is not linked statically would look for its libraries in the container.
    """
    machine = _MACHINES.get(architecture)
    if machine is None or not is_foreign(architecture) or _is_registered(machine):
        return b""
    for name in (f"qemu-{machine.qemu}-static", f"qemu-{machine.qemu}"):
        path = find_program(name, environ)
        if path is not None and _is_static(path) and ":" not in path:
            return _rule(machine, path)
    return b""


def missing(platform: str) -> str:
    """Say what to do where programs of a platform could not be executed."""
    architecture = platform.partition("/")[2].partition("/")[0]
    machine = _MACHINES.get(architecture)
    if machine is None or not is_foreign(architecture):
        return ""
    if registration(architecture, os.environ):
        return (
            f"it must be a program for {platform}; before Linux 6.7 root has to register the"
            " emulator with binfmt_misc: sudo apt-get install binfmt-support qemu-user-static"
        )
    return (
        f"this machine executes {host_platform()}; for programs of {platform} install"
        f" qemu-user-static (qemu-{machine.qemu}-static); before Linux 6.7 root has to register it"
        " with binfmt_misc, which the package does"
    )


def _rule(machine: _Machine, path: str) -> bytes:
    """Write the rule: the ELF header of an executable or of a position-independent one."""
    magic = b"\x7fELF" + bytes((machine.bits, machine.order, 1)) + bytes(9)
    mask = b"\xff" * 7 + b"\0" + b"\xff" * 8
    magic += _bytes(machine, 2) + _bytes(machine, machine.number)
    mask += _bytes(machine, 0xFFFE) + b"\xff\xff"
    words = ("".join(f"\\x{byte:02x}" for byte in data) for data in (magic, mask))
    return f":qemu-{machine.qemu}:M::{':'.join(words)}:{path}:{_FLAGS}".encode()


def _bytes(machine: _Machine, number: int) -> bytes:
    data = number.to_bytes(2, "little")
    return data if machine.order == _LITTLE else data[::-1]


def _is_registered(machine: _Machine) -> bool:
    """Whether the host has a rule that holds in containers, too: one with an open emulator."""
    wanted = _bytes(machine, machine.number).hex()
    try:
        names = os.listdir(REGISTERED)
    except OSError:
        return False
    for name in names:
        try:
            with open(f"{REGISTERED}/{name}", encoding="ascii", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue  # `register` is for writing
        fields = dict(line.partition(" ")[::2] for line in lines)
        magic = fields.get("magic", "")
        is_elf = magic.startswith("7f454c46") and magic[36:40] == wanted
        if lines[:1] == ["enabled"] and is_elf and "F" in fields.get("flags:", ""):
            return True
    return False


def _is_static(path: str) -> bool:
    """Whether a program of this machine needs no loader (elf(5), program headers)."""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
            if header[:4] != b"\x7fELF" or header[4] != _BITS_64:
                return False
            is_little = header[5] == _LITTLE

            def number(data: bytes) -> int:
                return int.from_bytes(data, "little" if is_little else "big")

            size, count = number(header[54:56]), number(header[56:58])
            file.seek(number(header[32:40]))
            table = file.read(size * count)
    except (OSError, IndexError):
        return False
    kinds = (number(table[at : at + 4]) for at in range(0, len(table), size or 1))
    return _PT_INTERP not in kinds
