"""`--limits=best-effort`: what comes near to a limit where a controller is missing."""

import os

from rootless.container.request import DEFAULT_PIDS
from rootless.container.resources import PERIOD_US, number, parse_list, part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Effort:
    """What is left of the resources, what replaces the rest, and a line for each replacement."""

    __slots__ = ("cpus", "left", "missing", "notes", "resources", "rlimits")

    def __init__(self, resources: dict[str, object], missing: "Iterable[str]") -> None:
        self.resources = resources
        self.missing = frozenset(missing)
        self.left: dict[str, object] = {}
        self.rlimits: list[dict[str, object]] = []
        self.cpus: list[int] = []
        self.notes: list[str] = []
        self._memory()
        self._pids()
        self._cpu()
        self._block_io()
        self._unified()

    def _is_kept(self, key: str, controller: str) -> bool:
        value = part(self.resources, key)
        if value and controller not in self.missing:
            self.left[key] = value
        return not value or controller not in self.missing

    def _limit(self, kind: str, value: int) -> None:
        self.rlimits.append({"type": kind, "soft": value, "hard": value})

    def _memory(self) -> None:
        if self._is_kept("memory", "memory"):
            return
        limit = number(part(self.resources, "memory"), "limit")
        if limit > 0:
            self._limit("RLIMIT_DATA", limit)
            self.notes.append(f"--memory: {limit} bytes for each process by itself (RLIMIT_DATA)")
        else:
            self.notes.append("--memory-reservation: left out, there is no memory controller")

    def _pids(self) -> None:
        if self._is_kept("pids", "pids"):
            return
        count = number(part(self.resources, "pids"), "limit")
        if count > 0 and count != DEFAULT_PIDS:
            self._limit("RLIMIT_NPROC", count)
            self.notes.append(f"--pids-limit: {count} processes for each user in it (RLIMIT_NPROC)")

    def _cpu(self) -> None:
        cpu = dict(part(self.resources, "cpu"))
        if "cpuset" in self.missing:
            self._cpuset(cpu)
        if "cpu" in self.missing:
            self._share(cpu)
            cpu = {key: value for key, value in cpu.items() if key in ("cpus", "mems")}
        if cpu:
            self.left["cpu"] = cpu

    def _cpuset(self, cpu: dict[str, object]) -> None:
        if cpu.pop("mems", None):
            self.notes.append("--cpuset-mems: left out, there is no cpuset controller")
        if text := cpu.pop("cpus", None):
            wanted = set(parse_list("--cpuset-cpus", str(text)))
            self.cpus = sorted(wanted & os.sched_getaffinity(0))
            self.notes.append(f"--cpuset-cpus: {text} by affinity, which the container may change")

    def _share(self, cpu: dict[str, object]) -> None:
        quota = number(cpu, "quota")
        if quota > 0 and not self.cpus:
            count = max(1, -(-quota // (number(cpu, "period") or PERIOD_US)))
            self.cpus = sorted(os.sched_getaffinity(0))[:count]
            self.notes.append(
                f"--cpus: {count} whole cpus by affinity, which the container may change"
            )
        if number(cpu, "shares"):
            self.notes.append("--cpu-shares: left out, there is no cpu controller")

    def _block_io(self) -> None:
        if not self._is_kept("blockIO", "io"):
            self.notes.append("--blkio-weight, --device-*: left out, there is no io controller")

    def _unified(self) -> None:
        kept = {}
        for name, value in part(self.resources, "unified").items():
            if name.partition(".")[0] in self.missing:
                self.notes.append(f"--cgroup-conf {name}: left out, there is no such controller")
            else:
                kept[name] = value
        if kept:
            self.left["unified"] = kept
