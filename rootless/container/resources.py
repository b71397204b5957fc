"""Limits: from options to `linux.resources` of config.json, from there to files of a cgroup.

OCI runtime-spec, config-linux, control groups. The files are cgroup v2's; what only v1 has is
refused with the reason.
"""

import os

from rootless.container.request import DEFAULT_PIDS
from rootless.errors import LimitError, UsageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless.container.request import ContainerRequest

PERIOD_US = 100_000
# docker's minimum: with less not even the start fits.
_LEAST_MEMORY_BYTES = 6 << 20
_LEAST_QUOTA_US = 1000
_MOST_PERIOD_US = 1_000_000
_SIZE_SUFFIXES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_IO_KEYS = (
    ("device_read_bps", "throttleReadBpsDevice", "rbps"),
    ("device_write_bps", "throttleWriteBpsDevice", "wbps"),
    ("device_read_iops", "throttleReadIOPSDevice", "riops"),
    ("device_write_iops", "throttleWriteIOPSDevice", "wiops"),
)


class Setting(NamedTuple):
    """One file of a cgroup; `option` is what the user calls it."""

    file: str
    value: str
    option: str

    @property
    def controller(self) -> str:
        return self.file.partition(".")[0]


def make_resources(request: "ContainerRequest") -> dict[str, object]:
    """Return `linux.resources`. Raises UsageError for numbers that no host could enforce."""
    _refuse_legacy(request)
    result: dict[str, object] = {}
    for key, value in (
        ("memory", _memory(request)),
        ("cpu", _cpu(request)),
        ("pids", _pids(request)),
        ("blockIO", _block_io(request)),
        ("unified", _unified(request.cgroup_conf)),
    ):
        if value:
            result[key] = value
    return result


def _refuse_legacy(request: "ContainerRequest") -> None:
    for field, asked in (
        ("memory_swappiness", request.memory_swappiness not in (None, -1)),
        ("oom_kill_disable", request.oom_kill_disable),
        ("kernel_memory", bool(request.kernel_memory)),
        ("cpu_rt_period", bool(request.cpu_rt_period)),
        ("cpu_rt_runtime", bool(request.cpu_rt_runtime)),
    ):
        if asked:
            raise UsageError(
                f"--{field.replace('_', '-')}: cgroup v2 has no such limit, only the old cgroup v1",
                remedy="leave it out; --memory and --memory-reservation work",
            )


def parse_bytes(option: str, text: str) -> int:
    """Return bytes for NUMBER[b|k|m|g], -1 for no limit. Raises UsageError."""
    lower = text.strip().lower()
    if lower == "-1":
        return -1
    digits = lower.rstrip("bkmgti")
    suffix = lower[len(digits) :]
    unit = suffix.removesuffix("ib").removesuffix("b") if len(suffix) > 1 else suffix
    whole, _, fraction = digits.partition(".")
    plain = whole + fraction
    known = plain.isascii() and plain.isdigit() and len(plain) <= 18 and unit in _SIZE_SUFFIXES
    if not known:
        raise UsageError(
            f"{option} {text[:80]!r}: not a size", remedy="use NUMBER[b|k|m|g], such as 512m"
        )
    shift = _SIZE_SUFFIXES[unit]
    return int(float(digits) * (1 << shift)) if fraction else int(whole or "0") << shift


def _memory(request: "ContainerRequest") -> dict[str, object]:
    result: dict[str, object] = {}
    limit = parse_bytes("--memory", request.memory) if request.memory else 0
    if 0 < limit < _LEAST_MEMORY_BYTES:
        raise UsageError(f"--memory {request.memory}: the minimum is 6m")
    if limit:
        result["limit"] = limit
    if request.memory_reservation:
        reservation = parse_bytes("--memory-reservation", request.memory_reservation)
        if 0 < limit < reservation:
            raise UsageError(
                f"--memory-reservation {request.memory_reservation}: more than --memory"
                f" {request.memory}",
                remedy="the reservation is the softer, smaller limit",
            )
        if reservation:
            result["reservation"] = reservation
    if request.memory_swap:
        swap = parse_bytes("--memory-swap", request.memory_swap)
        if swap > 0 and limit <= 0:
            raise UsageError(
                "--memory-swap: it is the sum of memory and swap, so --memory is needed too",
                remedy="add --memory",
            )
        if 0 < swap < limit:
            raise UsageError(
                f"--memory-swap {request.memory_swap}: less than --memory {request.memory}",
                remedy="it is the sum of memory and swap",
            )
        if swap:
            result["swap"] = swap
    if limit > 0 and "swap" not in result:
        result["swap"] = 2 * limit
    return result


def _cpu(request: "ContainerRequest") -> dict[str, object]:
    result: dict[str, object] = {}
    quota, period = request.cpu_quota or 0, request.cpu_period or 0
    if request.cpus:
        if quota or period:
            raise UsageError("--cpus does not go together with --cpu-quota and --cpu-period")
        quota, period = _quota(request.cpus), PERIOD_US
    if period and not _LEAST_QUOTA_US <= period <= _MOST_PERIOD_US:
        raise UsageError(f"--cpu-period {period}: must be between 1000 and 1000000 microseconds")
    if quota and quota != -1 and quota < _LEAST_QUOTA_US:
        option = f"--cpus {request.cpus}" if request.cpus else f"--cpu-quota {quota}"
        raise UsageError(f"{option}: the minimum is 1000 microseconds, or 0.01 cpus")
    if quota:
        result["quota"] = quota
    if period:
        result["period"] = period
    if request.cpu_shares:
        if not 2 <= request.cpu_shares <= 262144:
            raise UsageError(f"--cpu-shares {request.cpu_shares}: must be between 2 and 262144")
        result["shares"] = request.cpu_shares
    for field, text in (("cpus", request.cpuset_cpus), ("mems", request.cpuset_mems)):
        if text:
            parse_list(f"--cpuset-{field}", text)
            result[field] = text
    return result


def _quota(text: str) -> int:
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise UsageError(f"--cpus {text[:80]!r}: not a number", remedy="use a number such as 1.5")
    value = float(text)
    there = os.cpu_count() or 1
    if value > there:
        raise UsageError(f"--cpus {text}: this host has {there}")
    if value and value < 0.01:
        raise UsageError(f"--cpus {text}: the minimum is 0.01")
    return round(value * PERIOD_US)


def parse_list(option: str, text: str) -> list[int]:
    """Return the numbers of a list like 0-2,5 (cpuset(7), list format). Raises UsageError."""
    numbers: list[int] = []
    for part in text.split(","):
        first, separator, last = part.partition("-")
        ends = (first, last) if separator else (first, first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
            raise UsageError(f"{option} {text[:80]!r}: not a list", remedy="use one like 0-2,5")
        low, high = int(ends[0]), int(ends[1])
        if low > high:
            raise UsageError(f"{option} {text[:80]!r}: {part} runs backwards")
        numbers.extend(range(low, high + 1))
    return numbers


def _pids(request: "ContainerRequest") -> dict[str, object]:
    limit = DEFAULT_PIDS if request.pids_limit is None else request.pids_limit
    if limit < -1:
        raise UsageError(f"--pids-limit {limit}: use a number, or -1 for no limit")
    return {"limit": limit if limit > 0 else -1}


def _block_io(request: "ContainerRequest") -> dict[str, object]:
    result: dict[str, object] = {}
    if request.blkio_weight:
        result["weight"] = _io_weight("--blkio-weight", request.blkio_weight)
    devices = []
    for text in request.blkio_weight_device:
        path, value = _device_value("--blkio-weight-device", text)
        weight = _io_weight("--blkio-weight-device", value)
        devices.append({**_numbers("--blkio-weight-device", path), "weight": weight})
    if devices:
        result["weightDevice"] = devices
    for field, key, _ in _IO_KEYS:
        option = f"--{field.replace('_', '-')}"
        entries = []
        for text in getattr(request, field):
            path, value = _device_value(option, text)
            rate = _rate(option, value, iops=key.endswith("IOPSDevice"))
            entries.append({**_numbers(option, path), "rate": rate})
        if entries:
            result[key] = entries
    return result


def _io_weight(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 10 <= int(text[:9]) <= 1000:
        raise UsageError(f"{option} {text[:80]}: must be between 10 and 1000")
    return int(text)


def _device_value(option: str, text: str) -> tuple[str, str]:
    path, separator, value = text.rpartition(":")
    if not separator or not path.startswith("/dev/") or not value:
        raise UsageError(f"{option} {text[:80]!r}: not DEVICE:VALUE", remedy="as in /dev/sda:1mb")
    return path, value


def _rate(option: str, text: str, *, iops: bool) -> int:
    if iops and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UsageError(f"{option} {text[:80]!r}: not a number of operations in a second")
    rate = int(text) if iops else parse_bytes(option, text)
    if rate <= 0:
        raise UsageError(f"{option} {text[:80]!r}: must be more than 0")
    return rate


def _numbers(option: str, path: str) -> dict[str, object]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
    if status.st_mode & 0o170000 != 0o060000:
        raise UsageError(f"{option} {path}: not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}


def _unified(entries: "Iterable[str]") -> dict[str, object]:
    result: dict[str, object] = {}
    for text in entries:
        name, separator, value = text.partition("=")
        if not separator or "." not in name or "/" in name or name.startswith("cgroup."):
            raise UsageError(
                f"--cgroup-conf {text[:80]!r}: not FILE=VALUE of a controller",
                remedy="as in --cgroup-conf memory.high=1073741824",
            )
        result[name] = value
    return result


def settings(resources: dict[str, object]) -> list[Setting]:
    """Return the files that `linux.resources` means, in the order in which they are written."""
    return [
        *_memory_settings(part(resources, "memory")),
        *_cpu_settings(part(resources, "cpu")),
        *_pids_settings(part(resources, "pids")),
        *_io_settings(part(resources, "blockIO")),
        *(
            Setting(name, str(value), "--cgroup-conf")
            for name, value in part(resources, "unified").items()
        ),
    ]


def part(raw: dict[str, object], key: str) -> dict[str, object]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def number(raw: dict[str, object], key: str) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) else 0


def _or_max(value: int) -> str:
    return str(value) if value > 0 else "max"


def _memory_settings(memory: dict[str, object]) -> "Iterator[Setting]":
    limit, swap = number(memory, "limit"), number(memory, "swap")
    if limit:
        yield Setting("memory.max", _or_max(limit), "--memory")
    if swap:
        # OCI counts memory and swap together, cgroup v2 swap alone.
        value = str(max(swap - limit, 0)) if swap > 0 else "max"
        yield Setting("memory.swap.max", value, "--memory-swap")
    if reservation := number(memory, "reservation"):
        yield Setting("memory.low", _or_max(reservation), "--memory-reservation")


def _cpu_settings(cpu: dict[str, object]) -> "Iterator[Setting]":
    quota, period = number(cpu, "quota"), number(cpu, "period")
    if quota or period:
        yield Setting("cpu.max", f"{_or_max(quota)} {period or PERIOD_US}", "--cpus")
    if shares := number(cpu, "shares"):
        # OCI runtime-spec: [2, 262144] of v1 becomes [1, 10000] of v2.
        yield Setting("cpu.weight", str(1 + (shares - 2) * 9999 // 262142), "--cpu-shares")
    if cpus := cpu.get("cpus"):
        yield Setting("cpuset.cpus", str(cpus), "--cpuset-cpus")
    if mems := cpu.get("mems"):
        yield Setting("cpuset.mems", str(mems), "--cpuset-mems")


def _pids_settings(pids: dict[str, object]) -> "Iterator[Setting]":
    if "limit" in pids:
        yield Setting("pids.max", _or_max(number(pids, "limit")), "--pids-limit")


def _io_settings(block_io: dict[str, object]) -> "Iterator[Setting]":
    if weight := number(block_io, "weight"):
        yield Setting("io.weight", f"default {_weight(weight)}", "--blkio-weight")
    for entry in _entries(block_io, "weightDevice"):
        value = f"{entry['major']}:{entry['minor']} {_weight(number(entry, 'weight'))}"
        yield Setting("io.weight", value, "--blkio-weight-device")
    for field, key, word in _IO_KEYS:
        for entry in _entries(block_io, key):
            value = f"{entry['major']}:{entry['minor']} {word}={entry['rate']}"
            yield Setting("io.max", value, f"--{field.replace('_', '-')}")


def _weight(weight: int) -> int:
    return 1 + (weight - 10) * 9999 // 990


def _entries(raw: dict[str, object], key: str) -> list[dict[str, object]]:
    value = raw.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def check_cpus(settings_: "Iterable[Setting]", directory: str) -> None:
    """Raise LimitError for cpus or memory nodes that the parent does not have."""
    from rootless.linux.cgroup import read_or_empty

    for setting in settings_:
        if setting.file not in ("cpuset.cpus", "cpuset.mems"):
            continue
        there = read_or_empty(f"{directory}/{setting.file}.effective")
        if not there:
            continue
        extra = set(parse_list(setting.option, setting.value)) - set(parse_list("", there))
        if extra:
            raise LimitError(
                f"{setting.option} {setting.value}: not available: "
                f"{','.join(str(number) for number in sorted(extra)[:8])}",
                remedy=f"there are {there}",
            )
