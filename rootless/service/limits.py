"""Limits of docker's HostConfig, of create and update, as fields of a request."""

from rootless.service.fields import Fields
from rootless.service.http import HttpError

_NUMBERS = (
    ("CpuShares", "cpu_shares"),
    ("CpuQuota", "cpu_quota"),
    ("CpuPeriod", "cpu_period"),
    ("CpuRealtimePeriod", "cpu_rt_period"),
    ("CpuRealtimeRuntime", "cpu_rt_runtime"),
    ("PidsLimit", "pids_limit"),
)
_SIZES = (
    ("Memory", "memory"),
    ("MemorySwap", "memory_swap"),
    ("MemoryReservation", "memory_reservation"),
    ("KernelMemory", "kernel_memory"),
    ("BlkioWeight", "blkio_weight"),
)
_RATES = (
    ("BlkioDeviceReadBps", "device_read_bps"),
    ("BlkioDeviceWriteBps", "device_write_bps"),
    ("BlkioDeviceReadIOps", "device_read_iops"),
    ("BlkioDeviceWriteIOps", "device_write_iops"),
)


def limits(config: Fields) -> dict[str, object]:
    """Return the fields that are given; 0 is none. Raises HttpError."""
    values: dict[str, object] = {}
    for key, field in _NUMBERS:
        if number := config.number(key):
            values[field] = number
    for key, field in _SIZES:
        if number := config.number(key):
            values[field] = str(number)
    if cpus := config.number("NanoCpus"):
        values["cpus"] = f"{cpus / 1e9:.9f}".rstrip("0").rstrip(".")
    return {**values, **_others(config), **_lists(config)}


def _others(config: Fields) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, field in (
        ("CpusetCpus", "cpuset_cpus"),
        ("CpusetMems", "cpuset_mems"),
        ("CgroupParent", "cgroup_parent"),
    ):
        if text := config.text(key):
            values[field] = text
    if config.has("MemorySwappiness") and config.number("MemorySwappiness") >= 0:
        values["memory_swappiness"] = config.number("MemorySwappiness")
    if config.flag("OomKillDisable"):
        values["oom_kill_disable"] = True
    return values


def _lists(config: Fields) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, field in _RATES:
        if entries := config.parts(key):
            values[field] = tuple(f"{_path(one)}:{one.number('Rate')}" for one in entries)
    if entries := config.parts("BlkioWeightDevice"):
        values["blkio_weight_device"] = tuple(
            f"{_path(one)}:{one.number('Weight')}" for one in entries
        )
    if entries := config.parts("Ulimits"):
        values["ulimit"] = tuple(
            f"{one.text('Name')}={one.number('Soft')}:{one.number('Hard')}" for one in entries
        )
    return values


def _path(device: Fields) -> str:
    path = device.text("Path")
    if not path.startswith("/") or ":" in path:
        raise HttpError(400, f"{device.where}.Path: an absolute path without colons was expected")
    return path
