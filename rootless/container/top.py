"""`top`: the processes of a container, as AIX format descriptors or options of ps(1)."""

import os
import time

from rootless.errors import ContainerStateError, UsageError
from rootless.host.paths import Host
from rootless.linux.procfs import entrance, read_stat
from rootless.sandbox.capabilities import NAMES, supported
from storage.containers import ContainerView, find_container

_DEFAULT = ("user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args")
_HEADINGS = {
    "user": "USER", "uid": "UID", "group": "GROUP", "gid": "GID", "pid": "PID", "ppid": "PPID",
    "pgid": "PGID", "pcpu": "%CPU", "etime": "ELAPSED", "tty": "TTY", "time": "TIME",
    "args": "COMMAND", "comm": "COMMAND", "nice": "NI", "vsz": "VSZ", "rss": "RSS",
    "state": "STATE", "hpid": "HPID", "huser": "HUSER", "hgroup": "HGROUP",
    "capeff": "EFFECTIVE CAPS", "seccomp": "SECCOMP", "ruser": "RUSER", "rgroup": "RGROUP",
    "groups": "GROUPS", "hgroups": "HGROUPS", "stime": "STIME", "label": "LABEL",
    "capinh": "INHERITED CAPS", "capprm": "PERMITTED CAPS", "capbnd": "BOUNDING CAPS",
    "capamb": "AMBIENT CAPS",
}  # fmt: skip
# ps(1), AIX format descriptors.
_CODES = {
    "%C": "pcpu", "%G": "group", "%P": "ppid", "%U": "user", "%a": "args", "%c": "comm",
    "%g": "rgroup", "%n": "nice", "%p": "pid", "%r": "pgid", "%t": "etime", "%u": "ruser",
    "%x": "time", "%y": "tty", "%z": "vsz",
}  # fmt: skip
_CAPABILITIES = {
    "capinh": "CapInh", "capprm": "CapPrm", "capeff": "CapEff", "capbnd": "CapBnd",
    "capamb": "CapAmb",
}  # fmt: skip
_SECCOMP = {"0": "disabled", "1": "strict", "2": "filter"}


def top(host: Host, text: str, descriptors: list[str]) -> list[list[str]]:
    """Return the heading and one row for each process.

    Raises ContainerNotFound, ContainerStateError, UsageError.
    """
    found = find_container(host.layout, text)
    if found.status != "running":
        raise ContainerStateError(
            f"top can only be used on running containers: {found.record.name} is {found.status}"
        )
    wanted = _parse(descriptors)
    names = _account_names(found)
    rows = [[_HEADINGS[name] for name in wanted]]
    for pid in pids_of(found.state.pid):
        facts = _facts(pid, found, names)
        if facts:
            rows.append([facts[name] for name in wanted])
    return rows


def is_for_ps(descriptors: list[str]) -> bool:
    """Whether these are options of ps(1), and no descriptors."""
    return any(word not in _HEADINGS for word in _words(descriptors))


def _words(descriptors: list[str]) -> list[str]:
    words = [word for text in descriptors for word in text.split(",") if word]
    return [_CODES.get(word, word.lower()) for word in words]


def _parse(descriptors: list[str]) -> tuple[str, ...]:
    words = _words(descriptors)
    for word in words:
        if word not in _HEADINGS:
            raise UsageError(
                f'unknown descriptor "{word}"', remedy="known: " + " ".join(sorted(_HEADINGS))
            )
    return tuple(words) or _DEFAULT


def pids_of(init: int) -> list[int]:
    """Return the host pids of all processes in the pid namespace of `init`, in order."""
    inside = entrance(init)
    namespace = os.readlink(f"/proc/{inside}/ns/pid")
    found = [] if inside == init else [init]
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                found.append(int(name))
        except OSError:
            continue  # somebody else's, or gone
    return sorted(found)


def _account_names(found: ContainerView) -> dict[str, dict[int, str]]:
    from rootless.container.exec import read_inside
    from rootless.container.users import parse_group, parse_passwd

    pid = found.state.pid
    return {
        "user": {a.uid: a.name for a in reversed(parse_passwd(read_inside(pid, "/etc/passwd")))},
        "group": {
            gid: name for name, gid, _ in reversed(parse_group(read_inside(pid, "/etc/group")))
        },
    }


def _inside(ranges: tuple[tuple[int, int, int], ...], host_id: int) -> int:
    for inside, outside, count in ranges:
        if outside <= host_id < outside + count:
            return inside + host_id - outside
    return 65534


def _facts(pid: int, found: ContainerView, names: dict[str, dict[int, str]]) -> dict[str, str]:
    fields = read_stat(pid)
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            arguments = words.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return {}
    if not fields:
        return {}
    uids, gids = status["Uid"].split(), status["Gid"].split()
    others = status.get("Groups", "").split()
    ticks = os.sysconf("SC_CLK_TCK")
    cpu_s = (int(fields[11]) + int(fields[12])) / ticks
    with open("/proc/uptime", encoding="ascii") as file:
        up_s = float(file.read().split()[0])
    elapsed_s = max(0.01, up_s - int(fields[19]) / ticks)

    def user(host_id: str) -> str:
        return _name(found.record.uid_map, host_id, names["user"])

    def group(host_id: str) -> str:
        return _name(found.record.gid_map, host_id, names["group"])

    return {
        "user": user(uids[1]),
        "ruser": user(uids[0]),
        "uid": str(_inside(found.record.uid_map, int(uids[1]))),
        "group": group(gids[1]),
        "rgroup": group(gids[0]),
        "groups": ",".join(group(one) for one in others),
        "gid": str(_inside(found.record.gid_map, int(gids[1]))),
        "huser": uids[1],
        "hgroup": gids[1],
        "hgroups": ",".join(others),
        "stime": _started(elapsed_s),
        "label": _label(pid),
        "pid": status.get("NSpid", str(pid)).split()[-1],
        "ppid": _parent_inside(int(fields[1])),
        "pgid": status.get("NSpgid", fields[2].decode()).split()[-1],
        "hpid": str(pid),
        "pcpu": f"{100 * cpu_s / elapsed_s:.3f}",
        "etime": _duration(elapsed_s),
        "time": _duration(cpu_s),
        "tty": _terminal(int(fields[4])),
        "args": arguments or f"[{status.get('Name', '')}]",
        "comm": status.get("Name", ""),
        "nice": fields[16].decode(),
        "vsz": str(int(fields[20]) // 1024),
        "rss": status.get("VmRSS", "0 kB").split()[0],
        "state": fields[0].decode(),
        **{name: _capabilities(status.get(key, "0")) for name, key in _CAPABILITIES.items()},
        "seccomp": _SECCOMP.get(status.get("Seccomp", ""), "?"),
    }


def _name(ranges: tuple[tuple[int, int, int], ...], host_id: str, names: dict[int, str]) -> str:
    inside = _inside(ranges, int(host_id))
    return names.get(inside, str(inside))


def _started(elapsed_s: float) -> str:
    """Return the moment, in UTC, as podman writes it."""
    parts = time.gmtime(time.time() - elapsed_s)
    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", parts)


def _label(pid: int) -> str:
    """Return the label of a security module, "?" for none."""
    try:
        with open(f"/proc/{pid}/attr/current", encoding="ascii", errors="replace") as file:
            return file.read().strip("\0\n") or "?"
    except OSError:
        return "?"


def _capabilities(text: str) -> str:
    """Return names without CAP_, "full" when none is missing, "none" where there is none."""
    bits = int(text, 16)
    have = [name.removeprefix("CAP_") for at, name in enumerate(NAMES) if bits >> at & 1]
    if bits and len(have) == len(supported()):
        return "full"
    return ",".join(sorted(have)) or "none"


def _parent_inside(host_pid: int) -> str:
    """The parent's pid as the container sees it; 0 when it is outside."""
    try:
        with open(f"/proc/{host_pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    pids = line.split()[1:]
                    return pids[-1] if len(pids) > 1 else "0"
    except OSError:
        pass
    return "0"


def _terminal(number: int) -> str:
    if not number:
        return "?"
    major, minor = number >> 8 & 0xFFF, (number & 0xFF) | (number >> 12 & 0xFFF00)
    return f"pts/{minor}" if 136 <= major <= 143 else f"{major}:{minor}"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}h{minute}m{second}s" if hours else f"{minute}m{second}s"
