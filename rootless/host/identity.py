"""Which ids a container may have: subordinate ranges, read where newuidmap reads them.

A map is a tuple of (container id, host id, count). The default is the caller as 0 and the caller's
subordinate ranges from 1 on, in the order of the file: what podman and docker rootless do.
"""

import errno
import os

from rootless.errors import HostError
from rootless.host.programs import find_program, install_command, read_text, run_program
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.linux.userns import IdMaps

IdMap = tuple[tuple[int, int, int], ...]
Range = tuple[int, int]

_LAST_ID = 4294967294
# user_namespaces(7): at most 340 lines since Linux 4.15; one is the caller's own.
_MAX_RANGES = 339


class Ranges(NamedTuple):
    """A user's subordinate ids; `problem` and `remedy` say why there are none."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    problem: str = ""
    remedy: str = ""


def single_id(uid: int, gid: int) -> "IdMaps":
    """Return the map that needs no privilege at all: the caller as 0."""
    from rootless.linux.userns import IdMaps

    return IdMaps(((0, uid, 1),), ((0, gid, 1),))


def default_maps(uid: int, gid: int, ranges: Ranges) -> "IdMaps":
    """Return the caller as 0 and the ranges from 1 on."""
    if not ranges.uids or not ranges.gids:
        return single_id(uid, gid)
    from rootless.linux.userns import IdMaps

    return IdMaps(_stack(uid, ranges.uids), _stack(gid, ranges.gids))


def _stack(own: int, ranges: "Sequence[Range]") -> IdMap:
    lines = [(0, own, 1)]
    start = 1
    for host_id, count in ranges[:_MAX_RANGES]:
        lines.append((start, host_id, count))
        start += count
    return tuple(lines)


def find_ranges(uid: int, gid: int, user_name: str) -> Ranges:
    """Return the subordinate ids that the caller may really use here."""
    uids = _ranges_of("uid", uid, user_name)
    gids = _ranges_of("gid", uid, user_name)
    uids = disjoint(_mapped_here(uids, "/proc/self/uid_map"), uid)
    gids = disjoint(_mapped_here(gids, "/proc/self/gid_map"), gid)
    if not uids or not gids:
        file = "/etc/subuid" if not uids else "/etc/subgid"
        return Ranges(
            (),
            (),
            f"user {user_name} has no usable subordinate ids in {file}",
            add_ranges_command(user_name),
        )
    # Root writes any map itself.
    for program in ("newuidmap", "newgidmap") if uid else ():
        problem, remedy = check_map_program(program)
        if problem:
            return Ranges((), (), problem, remedy)
    return Ranges(uids, gids)


def check_map_program(name: str) -> tuple[str, str]:
    """Return why newuidmap or newgidmap cannot work and the fix, or two empty strings."""
    path = find_program(name)
    if path is None:
        return f"{name} is not installed", install_command(name)
    capability = "cap_setuid" if name == "newuidmap" else "cap_setgid"
    if not os.stat(path).st_mode & 0o4000 and not _has_file_capability(path):
        return (
            f"{path} has neither the setuid bit nor {capability}",
            f"sudo setcap {capability}+ep {path}  (or: sudo chmod u+s {path})",
        )
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        return (
            f"{path} lies on a file system mounted nosuid",
            f"install {name} on a file system without nosuid",
        )
    return "", ""


def _has_file_capability(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError as error:
        # ENODATA: no capability; ENOTSUP: a file system without xattrs.
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise HostError(f"read capabilities of {path}: {error.strerror}") from error


def _ranges_of(kind: str, uid: int, user_name: str) -> tuple[Range, ...]:
    source = _nss_source()
    if source not in ("", "files"):
        # newuidmap asks the same plugin and then ignores the file.
        return _from_getsubids(kind, user_name)
    return parse_ranges(read_text(f"/etc/sub{kind}"), uid, user_name)


def _nss_source() -> str:
    for line in read_text("/etc/nsswitch.conf").splitlines():
        words = line.split("#", 1)[0].split()
        if words and words[0] == "subid:":
            return words[1] if len(words) > 1 else ""
    return ""


def _from_getsubids(kind: str, user_name: str) -> tuple[Range, ...]:
    path = find_program("getsubids")
    if path is None:
        return ()
    options = ["-g"] if kind == "gid" else []
    try:
        output = run_program([path, *options, user_name])
    except HostError:
        return ()
    ranges = []
    for line in output.stdout.splitlines():
        words = line.split()  # "0: user 100000 65536"
        if len(words) == 4 and words[2].isdecimal() and words[3].isdecimal():
            ranges.append((int(words[2]), int(words[3])))
    return tuple(ranges)


def parse_ranges(text: str, uid: int, user_name: str) -> tuple[Range, ...]:
    """Return the ranges of one user from the text of /etc/subuid or /etc/subgid (subuid(5))."""
    ranges = []
    owners = (user_name, str(uid))
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in owners:
            first, count = fields[1], fields[2]
            if first.isdecimal() and count.isdecimal() and int(count) > 0:
                ranges.append((int(first), int(count)))
    return tuple(ranges)


def _mapped_here(ranges: tuple[Range, ...], map_file: str) -> tuple[Range, ...]:
    """Drop ids that this user namespace does not have (rpod inside a container)."""
    inside = []
    for line in read_text(map_file).splitlines():
        words = line.split()
        inside.append((int(words[0]), int(words[2])))
    if not inside or inside == [(0, 4294967295)]:
        return ranges
    return tuple(
        (low, high - low)
        for first, count in ranges
        for start, length in sorted(inside)
        if (low := max(first, start)) < (high := min(first + count, start + length))
    )


def disjoint(ranges: tuple[Range, ...], own: int) -> tuple[Range, ...]:
    """Cut overlaps and the caller's own id out: the kernel refuses a map that names an id twice."""
    taken = [(own, own + 1)]
    result: list[Range] = []
    for first, count in ranges:
        pieces = [(first, min(first + count, _LAST_ID + 1))]
        for low, high in taken:
            pieces = [
                piece
                for start, end in pieces
                for piece in ((start, min(end, low)), (max(start, high), end))
                if piece[0] < piece[1]
            ]
        taken += pieces
        result += [(start, end - start) for start, end in pieces]
    return tuple(result)


def add_ranges_command(user_name: str) -> str:
    """Return the command that gives the user 65,536 ids which nobody else has."""
    first = 100000
    for path in ("/etc/subuid", "/etc/subgid"):
        for line in read_text(path).splitlines():
            fields = line.strip().split(":")
            if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
                first = max(first, int(fields[1]) + int(fields[2]))
    last = first + 65535
    return f"sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user_name}"
