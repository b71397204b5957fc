"""When the next health check is due: the part of health checks that lives in the monitor.

Each check is a process of its own, which ends: the monitor of a container that lives for months
holds nothing of it.
"""

import os
import sys
import time

from storage import lightjson as json
from storage.containers import ContainerView, read_state, record_from_json
from storage.errors import StorageError
from storage.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.monitor import Monitor

# Exit status of a check while the start-up check has not passed yet.
IN_STARTUP = 3
_BOOT = (
    "import sys; sys.path[:] = sys.argv[1].split(':');"
    "from rootless.container.health import main; main(sys.argv[2])"
)


class HealthTimer:
    """`due_s` is the monotonic time of the next check, 0 while one runs or when there is none."""

    def __init__(self, monitor: "Monitor", view: ContainerView) -> None:
        settings = view.record.health or {}
        startup = settings.get("startup")
        self._monitor = monitor
        self._view = view
        self._startup_s = _seconds(startup) if isinstance(startup, dict) else 0.0
        self._take(settings)
        self._start_end_s = time.monotonic() + _number(settings, "start_period_s")
        self._pid = 0
        self.due_s = time.monotonic() if self._startup_s or self._interval_s else 0.0

    def _take(self, settings: dict[str, object]) -> None:
        self._interval_s = _seconds(settings)
        self._start_interval_s = _number(settings, "start_interval_s")

    def _look_again(self) -> None:
        """Read what `update` may have changed; the checks themselves read the record each time."""
        try:
            path = self._view.paths.record
            self._take(record_from_json(json.loads(read_file(path)), path).health or {})
        except (OSError, ValueError, StorageError):
            return  # it is being removed, or was damaged

    def fire(self) -> None:
        """Start a check."""
        paths = self._view.paths
        words = {
            # <store>/containers/<id> and <run root>/containers/<id>
            "store": os.path.dirname(os.path.dirname(paths.directory)),
            "run_root": os.path.dirname(os.path.dirname(paths.run_dir)),
            "id": self._view.record.id,
            "started_at": read_state(paths).started_at,
        }
        search_path = ":".join(path for path in sys.path if path)
        program = [sys.executable, "-I", "-S", "-c", _BOOT, search_path, json.dumps(words)]
        self.due_s = 0.0
        try:
            self._pid = os.posix_spawn(program[0], program, os.environ)
            self._monitor.watch(os.pidfd_open(self._pid), self._ended)
        except OSError:
            # No process to be had just now: the next round tries again.
            self.due_s = time.monotonic() + max(self._interval_s, 1.0)

    def _ended(self, fd: int, event: int) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._monitor.forget(fd)
        os.close(fd)
        self._look_again()
        in_startup = os.waitstatus_to_exitcode(status) == IN_STARTUP
        wait_s = self._startup_s if in_startup else self._interval_s
        if self._start_interval_s and self._is_starting():
            wait_s = self._start_interval_s
        self.due_s = time.monotonic() + wait_s if wait_s else 0.0

    def _is_starting(self) -> bool:
        """Whether failures do not count yet, and no check has passed."""
        from rootless.container.health_state import STARTING, read_health

        if time.monotonic() >= self._start_end_s:
            return False
        found = self._view._replace(state=read_state(self._view.paths))
        return read_health(found).get("Status") == STARTING


def _seconds(settings: dict[str, object]) -> float:
    return _number(settings, "interval_s")


def _number(settings: dict[str, object], key: str) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
