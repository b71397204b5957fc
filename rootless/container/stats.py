"""`stats`: what a container uses, from its cgroup; where it has none, its processes added up."""

import os
import time

from rootless.linux import cgroup
from rootless.linux.procfs import read_stat
from storage.containers import ContainerView
from storage.record import NamedTuple

_NANO = 1_000_000_000


class Stats(NamedTuple):
    """One look. Times in ns, sizes in bytes; without a limit `memory_limit` is all there is."""

    container_id: str
    name: str
    at_ns: int
    started_ns: int
    cpu_ns: int
    memory: int
    memory_limit: int
    net_input: int
    net_output: int
    block_input: int
    block_output: int
    pids: int
    from_proc: bool

    def cpu_percent(self, before: "Stats | None") -> float:
        """Return the use of one cpu since an earlier look, or since the start."""
        if before is None or before.cpu_ns > self.cpu_ns:
            return self.average_cpu
        return 100 * (self.cpu_ns - before.cpu_ns) / max(1, self.at_ns - before.at_ns)

    @property
    def average_cpu(self) -> float:
        return 100 * self.cpu_ns / max(1, self.at_ns - self.started_ns)

    @property
    def memory_percent(self) -> float:
        return 100 * self.memory / self.memory_limit if self.memory_limit else 0.0


def look(found: ContainerView) -> Stats | None:
    """Return what a container uses now; all zero when it does not run, None when it just ended."""
    record, state = found.record, found.state
    now_ns = time.time_ns()
    if found.status not in ("running", "paused"):
        return Stats(record.id, record.name, now_ns, now_ns, *(0,) * 8, from_proc=False)
    fields = read_stat(state.pid)
    if not fields:
        return None
    directory = state.cgroup
    total = _host_memory()
    started_ns = _started_ns(fields)
    received, sent = _network(state.pid, found.paths.traffic)
    usage = cgroup.counters(f"{directory}/cpu.stat").get("usage_usec") if directory else None
    pids = _processes(state.pid) if not directory or usage is None else []
    cpu_ns = usage * 1000 if usage is not None else _cpu_of(pids)
    text = cgroup.read_or_empty(f"{directory}/memory.current") if directory else ""
    from_proc = not text
    pids = pids or (_processes(state.pid) if from_proc else [])
    limit = cgroup.read_or_empty(f"{directory}/memory.max") if text else ""
    count = cgroup.read_or_empty(f"{directory}/pids.current") if directory else ""
    read_bytes, written = _disks(directory) if directory else (0, 0)
    if from_proc and not read_bytes and not written:
        read_bytes, written = _disks_of(pids)
    return Stats(
        record.id,
        record.name,
        now_ns,
        started_ns,
        cpu_ns,
        _memory(directory, int(text)) if text else _memory_of(pids),
        min(int(limit), total) if limit.isdecimal() else total,
        received,
        sent,
        read_bytes,
        written,
        int(count) if count.isdecimal() else len(pids or _processes(state.pid)),
        from_proc,
    )


def _memory(directory: str, current: int) -> int:
    """Leave out what the kernel would drop at once, as docker and podman do."""
    return max(0, current - cgroup.counters(f"{directory}/memory.stat").get("inactive_file", 0))


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _started_ns(fields: list[bytes]) -> int:
    uptime_s = float(cgroup.read("/proc/uptime").split()[0])
    ticks = int(fields[19])
    return time.time_ns() - int((uptime_s - ticks / os.sysconf("SC_CLK_TCK")) * _NANO)


def _network(pid: int, traffic: str) -> tuple[int, int]:
    """Add up the interfaces of the container, without loopback; proc(5), /proc/PID/net/dev.

    The clients of published ports come over its loopback: the forwarder counts them.
    """
    received, sent = _forwarded(traffic)
    for line in cgroup.read_or_empty(f"/proc/{pid}/net/dev").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        words = numbers.split()
        if name.strip() != "lo" and len(words) >= 9:
            received += int(words[0])
            sent += int(words[8])
    return received, sent


def _forwarded(path: str) -> tuple[int, int]:
    if not os.path.exists(path):
        return 0, 0
    from slirp.forward_traffic import decode

    with open(path, "rb") as file:
        return decode(file.read())


def _disks(directory: str) -> tuple[int, int]:
    read_bytes = written = 0
    for line in cgroup.read_or_empty(f"{directory}/io.stat").splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            if name == "rbytes":
                read_bytes += int(value)
            elif name == "wbytes":
                written += int(value)
    return read_bytes, written


def _processes(init: int) -> list[int]:
    from rootless.container.top import pids_of

    try:
        return pids_of(init)
    except OSError:
        return []


def _cpu_of(pids: list[int]) -> int:
    ticks = 0
    for pid in pids:
        fields = read_stat(pid)
        if fields:
            # With the children that have ended: fields 14 to 17 of proc(5).
            ticks += sum(int(field) for field in fields[11:15])
    return ticks * _NANO // os.sysconf("SC_CLK_TCK")


def _memory_of(pids: list[int]) -> int:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        words = cgroup.read_or_empty(f"/proc/{pid}/statm").split()
        if len(words) > 2:
            # Resident, without what is mapped from files: those pages are shared.
            total += (int(words[1]) - int(words[2])) * page_bytes
    return total


def _disks_of(pids: list[int]) -> tuple[int, int]:
    read_bytes = written = 0
    for pid in pids:
        for line in cgroup.read_or_empty(f"/proc/{pid}/io").splitlines():
            name, _, value = line.partition(": ")
            if name == "read_bytes":
                read_bytes += int(value)
            elif name == "write_bytes":
                written += int(value)
    return read_bytes, written
