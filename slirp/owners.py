"""Who holds a port of this host: for the message about a port that is taken."""

import os

_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}
_LISTEN = "0A"


def port_owner(protocol: str, port: int, *, proc: str = "/proc") -> str:
    """Return "process 12 (sshd)", "a process of uid 0", or "" when it cannot be seen."""
    for name in _TABLES[protocol]:
        try:
            with open(f"{proc}/net/{name}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            # proc(5): sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
            fields = line.split()
            listening = protocol == "udp" or fields[3] == _LISTEN
            if listening and int(fields[1].rpartition(":")[2], 16) == port:
                return _holder(fields[9], proc) or f"a process of uid {fields[7]}"
    return ""


def _holder(inode: str, proc: str) -> str:
    wanted = f"socket:[{inode}]"
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        try:
            descriptors = os.listdir(f"{proc}/{name}/fd")
        except OSError:
            # Another user's process, or one that has just ended.
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(f"{proc}/{name}/fd/{descriptor}") == wanted:
                    return f"process {name} ({_command(name, proc)})"
            except OSError:
                continue
    return ""


def _command(pid: str, proc: str) -> str:
    try:
        with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "ended"
