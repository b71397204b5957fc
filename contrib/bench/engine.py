"""The commands that are compared: how each is started, as whom, and what it leaves running."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.accounts import Account, processes


class BenchError(Exception):
    """A command that had to work did not."""


class Timed(NamedTuple):
    """One measured command: wall clock, and the largest process of its tree."""

    seconds: float
    peak_mib: float


def find_rpod(chosen: str | None) -> str | None:
    """Return the rpod to measure: the option, beside this Python, in PATH, in .venv."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    beside = os.path.join(os.path.dirname(sys.executable), "rpod")
    for path in (chosen, beside, shutil.which("rpod"), os.path.join(here, ".venv/bin/rpod")):
        if path and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


class Engine:
    """rpod or podman, run as an account with a store of its own."""

    def __init__(self, name: str, program: str, account: Account) -> None:
        self.name = name
        self.program = program
        self.account = account
        self.environment = account.environment()
        for variable, value in os.environ.items():
            if variable.startswith("CONTAINERS_"):  # set by podman-here
                self.environment[variable] = value

    def start(
        self, *argv: str, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start without waiting; as root the account is entered before the exec."""
        root = os.getuid() == 0
        return subprocess.Popen(
            [self.program, *argv],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=self.environment,
            cwd="/",
            user=self.account.uid if root else None,
            group=self.account.gid if root else None,
            extra_groups=[] if root else None,
            start_new_session=True,
        )

    def call(self, *argv: str, check: bool = True) -> str:
        """Run to the end, untimed; return the output."""
        process = self.start(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        if check and process.returncode != 0:
            said = err.decode(errors="replace").strip()
            raise BenchError(f"{self.name} {' '.join(argv)}: {process.returncode}: {said[-300:]}")
        return out.decode(errors="replace")

    def timed(self, *argv: str) -> Timed:
        """Run to the end and measure."""
        begin = time.perf_counter()
        process = self.start(*argv)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            self.call(*argv)  # once more, for its words
            raise BenchError(
                f"{self.name} {' '.join(argv)}: exit {process.returncode}, then worked"
            )
        return Timed(seconds, usage.ru_maxrss / 1024)

    def at_once(self, count: int, *argv: str) -> Timed:
        """Start one command `count` times side by side and wait for all."""
        begin = time.perf_counter()
        running = [self.start(*argv) for _ in range(count)]
        codes = [process.wait() for process in running]
        seconds = time.perf_counter() - begin
        if any(codes):
            failed = sum(code != 0 for code in codes)
            raise BenchError(f"{self.name} {' '.join(argv)}: {failed} of {count} failed")
        return Timed(seconds, 0.0)

    def stream(self, *argv: str) -> tuple[int, float]:
        """Read the standard output; return its bytes and the seconds from the first to the last."""
        process = self.start(*argv, stdout=subprocess.PIPE)
        assert process.stdout is not None
        source = process.stdout.fileno()
        total = len(os.read(source, 1 << 16))
        begin = time.perf_counter()
        while part := os.read(source, 1 << 20):
            total += len(part)
        seconds = time.perf_counter() - begin
        process.stdout.close()
        if process.wait() != 0:
            raise BenchError(f"{self.name} {' '.join(argv)}: exit {process.returncode}")
        return total, seconds

    def processor_seconds(self, *argv: str) -> float:
        """Run to the end; return the processor time of it and of what it waited for."""
        process = self.start(*argv)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise BenchError(f"{self.name} {' '.join(argv)}: exit {process.returncode}")
        return usage.ru_utime + usage.ru_stime

    @contextlib.contextmanager
    def variables(self, **given: str) -> Iterator[None]:
        """Have environment variables for the length of a block."""
        before = self.environment
        self.environment = {**before, **given}
        try:
            yield
        finally:
            self.environment = before

    @contextlib.contextmanager
    def own_directory(self) -> Iterator[str]:
        """Give a directory that the account owns."""
        with tempfile.TemporaryDirectory(dir=self.account.home) as path:
            if os.getuid() == 0:
                os.chown(path, self.account.uid, self.account.gid)
            yield path

    def clean(self) -> None:
        """Remove every container."""
        self.call("rm", "--force", "--all", "--time", "0", check=False)

    def helpers(self) -> dict[int, str]:
        """Return pid and name of the account's processes outside any container."""
        found = {}
        for process in processes(self.account.owns):
            try:
                with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
                    levels = status.read().split("\nNSpid:", 1)[1].split("\n", 1)[0].split()
            except (FileNotFoundError, ProcessLookupError, IndexError):
                continue
            if len(levels) == 1 and process.pid != os.getpid():
                found[process.pid] = process.name
        return found


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
