"""What stands on the scope because it counts between containers."""

from rootless.container.resources import Setting
from rootless.container.shares import scope_properties


def test_weights_and_protected_memory_become_properties_of_the_scope() -> None:
    wanted = [
        Setting("memory.max", "64", "--memory"),
        Setting("cpu.weight", "39", "--cpu-shares"),
        Setting("memory.low", "4096", "--memory-reservation"),
        Setting("io.weight", "default 50", "--blkio-weight"),
        Setting("io.weight", "8:0 10", "--blkio-weight-device"),
        Setting("io.weight", "8:16 20", "--blkio-weight-device"),
        Setting("io.max", "8:0 rbps=1000", "--device-read-bps"),
    ]
    assert scope_properties(wanted) == [
        ("CPUWeight", ("t", 39)),
        ("MemoryLow", ("t", 4096)),
        ("IOWeight", ("t", 50)),
        ("IODeviceWeight", ("a(st)", [("/dev/block/8:0", 10), ("/dev/block/8:16", 20)])),
    ]


def test_taken_back_is_not_set() -> None:
    wanted = [Setting("cpu.weight", "100", ""), Setting("memory.low", "0", "")]
    assert scope_properties(wanted) == [("CPUWeight", ("t", 2**64 - 1)), ("MemoryLow", ("t", 0))]
