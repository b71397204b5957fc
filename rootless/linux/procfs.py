"""What /proc says about a process. A pid names a process only together with its start time."""

import os
import time

_START_TIME_FIELD = 22

_ENTRANCE_S = 2.0
_ENTRANCE_POLL_S = 0.002


def read_stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat after the command, the state first; [] when gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        data = os.read(fd, 4096)
    except OSError:
        return []
    finally:
        os.close(fd)
    return data[data.rfind(b")") + 2 :].split()


def start_time(pid: int) -> int:
    """Return when the process started, in clock ticks since boot; 0 when it is gone."""
    fields = read_stat(pid)
    # The list starts with field 3 of proc(5).
    return int(fields[_START_TIME_FIELD - 3]) if fields else 0


def is_same_process(pid: int, ticks: int) -> bool:
    """Whether `pid` still is the process that started at `ticks`, and no zombie."""
    fields = read_stat(pid)
    return bool(fields) and int(fields[_START_TIME_FIELD - 3]) == ticks and fields[0] != b"Z"


def entrance(pid: int) -> int:
    """Return the process through which a container is entered whose first process is `pid`.

    It is that process, or its first child where the first (`--init`) hides its memory: namespaces
    and root of such a process are closed to its owner too (ptrace(2), access mode checking).
    """
    deadline_s = time.monotonic() + _ENTRANCE_S
    while True:
        for candidate in (pid, _first_child(pid)):
            try:
                os.stat(f"/proc/{candidate}/ns/mnt")
            except PermissionError:
                continue  # the child has not executed its program yet
            except OSError:
                return pid  # gone: whoever asks finds out
            else:
                return candidate
        if time.monotonic() > deadline_s:
            return pid
        time.sleep(_ENTRANCE_POLL_S)


def _first_child(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            words = file.read().split()
    except OSError:
        return pid
    return int(words[0]) if words else pid
