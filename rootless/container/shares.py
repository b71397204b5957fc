"""What a container gets of a busy machine: weights and protected memory, as its scope has them.

A weight counts among siblings, and protected memory only as far as each cgroup above has it too.
A container's own cgroup is alone in its scope, so what it was given must stand on the scope as
well; systemd owns the files there and writes them itself. org.freedesktop.systemd1(5),
systemd.resource-control(5), Documentation/admin-guide/cgroup-v2.rst.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.container.resources import Setting

_NOT_SET = 2**64 - 1
_NAMES = {"cpu.weight": "CPUWeight", "memory.low": "MemoryLow", "memory.min": "MemoryMin"}
_RESET = {"cpu.weight": ("100", _NOT_SET), "memory.low": ("0", 0), "memory.min": ("0", 0)}


def scope_properties(settings: "Iterable[Setting]") -> list[tuple[str, tuple[str, object]]]:
    """Return the unit properties of a scope: its name, and a D-Bus variant each.

    The value that a file has of itself becomes systemd's word for not set.
    """
    result: list[tuple[str, tuple[str, object]]] = []
    devices: list[tuple[str, int]] = []
    for setting in settings:
        if setting.file == "io.weight":
            device, _, weight = setting.value.rpartition(" ")
            if device in ("", "default"):
                result.append(("IOWeight", ("t", int(weight))))
            else:
                devices.append((f"/dev/block/{device}", int(weight)))
        elif name := _NAMES.get(setting.file):
            own, word = _RESET[setting.file]
            value = word if setting.value == own else _bytes(setting.value)
            result.append((name, ("t", value)))
    if devices:
        result.append(("IODeviceWeight", ("a(st)", devices)))
    return result


def _bytes(text: str) -> int:
    return int(text) if text.isdecimal() else _NOT_SET
