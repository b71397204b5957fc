"""What /proc says about a process. A pid names a process only together with its start time."""

import os

_START_TIME_FIELD = 22


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
