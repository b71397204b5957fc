"""The options of limits, which `run`, `create` and `update` share."""

from rootless.cli.table import Option, flag, many, number, text


def resource_options() -> tuple[Option, ...]:
    """Return them; the fields are those of `rootless.container.request.LIMITS`."""
    return (
        text("memory", "Memory limit: NUMBER[b|k|m|g]", short="m", default="", metavar="SIZE"),
        text("memory-swap", "Limit of memory and swap together; -1 for none", default="",
             metavar="SIZE"),
        text("memory-reservation", "Memory that is left to it when memory is short", default="",
             metavar="SIZE"),
        number("memory-swappiness", "Only cgroup v1 has it: refused, but -1"),
        flag("oom-kill-disable", "Only cgroup v1 has it: refused"),
        text("kernel-memory", "Only cgroup v1 has it: refused", default="", metavar="SIZE"),
        text("cpus", "Number of cpus, such as 1.5", default="", metavar="NUMBER"),
        number("cpu-shares", "Share of the cpus when they are short: 2 to 262144", short="c"),
        number("cpu-quota", "Microseconds of cpu in each period"),
        number("cpu-period", "Length of the period in microseconds"),
        number("cpu-rt-period", "Only cgroup v1 has it: refused"),
        number("cpu-rt-runtime", "Only cgroup v1 has it: refused"),
        text("cpuset-cpus", "Cpus that it may use, such as 0-2,5", default="", metavar="LIST"),
        text("cpuset-mems", "Memory nodes that it may use", default="", metavar="LIST"),
        number("pids-limit", "Number of processes; 2048 when not given, -1 for no limit"),
        text("blkio-weight", "Share of the disks when they are busy: 10 to 1000", default="",
             metavar="WEIGHT"),
        many("blkio-weight-device", "The same for one device", metavar="DEVICE:WEIGHT"),
        many("device-read-bps", "Bytes a second read from a device", metavar="DEVICE:RATE"),
        many("device-write-bps", "Bytes a second written to a device", metavar="DEVICE:RATE"),
        many("device-read-iops", "Reads a second from a device", metavar="DEVICE:RATE"),
        many("device-write-iops", "Writes a second to a device", metavar="DEVICE:RATE"),
    )  # fmt: skip
