"""`--uidmap`, `--gidmap` and `--userns=auto`: id maps in the user's own words.

Ids on the outer side count in the caller's default map, as with podman: 0 is the caller, 1 and on
are the subordinate ids. `@ID` names an id of the host instead.
"""

from rootless.container.idmap import UserNamespace
from rootless.errors import HostError, UsageError
from rootless.linux.userns import IdMaps, IdRange
from storage.containers import container_ids, read_record
from storage.errors import StorageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless.container.merged import Accounts
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host

MAP, AUTO = "map", "auto"
_MAX_ID = 2**32 - 2
# user_namespaces(7)
_MAX_LINES = 340
_NOBODY = 65534
_LEAST_SIZE = 1024


class Entry(NamedTuple):
    """One `[FLAGS]CONTAINER:FROM[:AMOUNT]`; `is_host` for an outer id that is the host's."""

    flags: str
    inside: int
    outer: int
    amount: int
    is_host: bool


def parse_entry(text: str, option: str) -> Entry:
    """Read one value of --uidmap or --gidmap. Raises UsageError."""
    fields = text.split(":")
    flags = ""
    while fields[0][:1] in tuple("+ug"):
        flags += fields[0][0]
        fields[0] = fields[0][1:]
    is_host = len(fields) > 1 and fields[1].startswith("@")
    if is_host:
        fields[1] = fields[1][1:]
    numbers = [int(field) if _is_id(field) else -1 for field in fields]
    if len(fields) == 2:
        numbers.append(1)
    if len(numbers) != 3 or min(numbers) < 0 or numbers[2] == 0:
        raise UsageError(
            f"--{option} {text}: not [FLAGS]CONTAINER_ID:FROM_ID[:AMOUNT]",
            remedy="FROM_ID 0 is you, 1 and on are your subordinate ids, @ID is an id of the host",
        )
    inside, outer, count = numbers
    if inside + count - 1 > _MAX_ID or outer + count - 1 > _MAX_ID:
        raise UsageError(f"--{option} {text}: ids end at {_MAX_ID}")
    return Entry(flags, inside, outer, count, is_host)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_ID))


def mapped_namespace(
    uidmap: "Sequence[str]", gidmap: "Sequence[str]", userns: str, default: IdMaps
) -> UserNamespace:
    """Return the namespace of --uidmap and --gidmap; what one of them lacks the other says.

    Raises UsageError, HostError.
    """
    if userns not in ("", "host", "private"):
        raise UsageError(
            f"--userns={userns} and --uidmap or --gidmap do not go together", remedy="leave one out"
        )
    if default.is_single:
        raise HostError(
            "--uidmap: without subordinate ids there is nothing but your own id to map",
            remedy="run `rpod doctor` for the line that /etc/subuid and /etc/subgid need",
        )
    users = [parse_entry(text, "uidmap") for text in uidmap]
    groups = [parse_entry(text, "gidmap") for text in gidmap]
    # A map that is not given is the other's, less what is said to be for one side alone.
    all_users = [e for e in users if "g" not in e.flags or "u" in e.flags]
    all_groups = [e for e in groups if "u" not in e.flags or "g" in e.flags]
    if not groups:
        all_groups = [e for e in users if "u" not in e.flags or "g" in e.flags]
    if not users:
        all_users = [e for e in groups if "g" not in e.flags or "u" in e.flags]
    maps = IdMaps(
        _resolve(all_users, default.uids, "uidmap"), _resolve(all_groups, default.gids, "gidmap")
    )
    return namespace_of(MAP, maps, default)


def namespace_of(mode: str, maps: IdMaps, default: IdMaps) -> UserNamespace:
    """Return the namespace of a map, with the ids that the caller has in it."""
    own_uid = _inside(maps.uids, default.uids[0][1])
    own_gid = _inside(maps.gids, default.gids[0][1])
    return UserNamespace(mode, maps, own_uid, own_gid)


def _inside(ranges: "Iterable[IdRange]", host_id: int) -> int | None:
    for inside, outside, count in ranges:
        if outside <= host_id < outside + count:
            return inside + host_id - outside
    return None


def _resolve(
    entries: list[Entry], default: tuple[IdRange, ...], option: str
) -> tuple[IdRange, ...]:
    """Return a map in ids of the host. Raises UsageError."""
    result: list[IdRange] = []
    if not entries or "+" in entries[0].flags:
        result = list(default)
    for entry in entries:
        for line in _host_lines(entry, default, option):
            if "+" in entry.flags:
                result = _without(result, line)
            elif _overlaps(result, line):
                raise UsageError(
                    f"--{option} {entry.inside}:{entry.outer}:{entry.amount}:"
                    " an id is mapped twice",
                    remedy="begin it with + to take the ids away from earlier entries",
                )
            result.append(line)
    result.sort()
    if not any(inside == 0 for inside, _, _ in result):
        raise UsageError(f"--{option}: id 0 of the container has to be mapped, to its root")
    if len(result) > _MAX_LINES:
        raise UsageError(f"--{option}: more than {_MAX_LINES} ranges are not possible")
    return tuple(result)


def _host_lines(entry: Entry, default: tuple[IdRange, ...], option: str) -> list[IdRange]:
    """Cut an entry where the caller's own ids have gaps on the host."""
    lines: list[IdRange] = []
    inside, outer, left = entry.inside, entry.outer, entry.amount
    while left:
        for first, host_first, count in default:
            start = host_first if entry.is_host else first
            if start <= outer < start + count:
                step = min(left, start + count - outer)
                lines.append((inside, host_first + outer - start, step))
                inside, outer, left = inside + step, outer + step, left - step
                break
        else:
            kind = "id of the host" if entry.is_host else "id"
            raise UsageError(
                f"--{option} {entry.inside}:{'@' if entry.is_host else ''}{entry.outer}:"
                f"{entry.amount}: {kind} {outer} is not yours to map",
                remedy=f"you have {sum(r[2] for r in default)} ids; `rpod info` shows the ranges",
            )
    return lines


def _overlaps(lines: list[IdRange], new: IdRange) -> bool:
    return any(
        (new[0] < inside + count and inside < new[0] + new[2])
        or (new[1] < outside + count and outside < new[1] + new[2])
        for inside, outside, count in lines
    )


def _without(lines: list[IdRange], new: IdRange) -> list[IdRange]:
    """Take the ids of a new line, on both sides, out of the others."""
    for side in (0, 1):
        kept: list[IdRange] = []
        low, high = new[side], new[side] + new[2]
        for line in lines:
            start, end = line[side], line[side] + line[2]
            if end <= low or high <= start:
                kept.append(line)
                continue
            if start < low:
                kept.append((line[0], line[1], low - start))
            if high < end:
                skip = high - start
                kept.append((line[0] + skip, line[1] + skip, end - high))
        lines = kept
    return lines


# --- --userns=auto


def check_auto(request: "ContainerRequest") -> None:
    """Raises UsageError."""
    if request.uidmap or request.gidmap:
        raise UsageError(
            "--userns=auto and --uidmap or --gidmap do not go together",
            remedy="use --userns=auto:uidmapping=CONTAINER:FROM:AMOUNT",
        )
    _auto_options(request.userns)


def auto_namespace(
    host: "Host", request: "ContainerRequest", accounts: "Accounts"
) -> UserNamespace:
    """Return a namespace whose ids no other container of --userns=auto has.

    The caller holds the lock `userns` until the container's record is there.

    Raises UsageError, HostError.
    """
    default = host.id_maps()
    size, users, groups = _auto_options(request.userns)
    if default.is_single:
        raise HostError(
            "--userns=auto: without subordinate ids there is nothing to give",
            remedy="run `rpod doctor` for the line that /etc/subuid and /etc/subgid need",
        )
    wanted = size or _size_needed(request, accounts)
    taken_uids, taken_gids = _taken(host)
    maps = IdMaps(
        _fill(wanted, users, default.uids, taken_uids, "uid"),
        _fill(wanted, groups, default.gids, taken_gids, "gid"),
    )
    return namespace_of(AUTO, maps, default)


def _auto_options(text: str) -> tuple[int, list[Entry], list[Entry]]:
    size = 0
    users: list[Entry] = []
    groups: list[Entry] = []
    words = text.partition(":")[2]
    for word in words.split(",") if words else ():
        key, _, value = word.partition("=")
        if key == "size" and _is_id(value) and int(value):
            size = int(value)
        elif key in ("uidmapping", "gidmapping"):
            entry = parse_entry(value, f"userns=auto:{key}")
            (users if key == "uidmapping" else groups).append(entry)
        else:
            raise UsageError(
                f"--userns={text}: {word!r} is none of size=N, uidmapping=, gidmapping="
            )
    return size, users, groups


def _size_needed(request: "ContainerRequest", accounts: "Accounts") -> int:
    """Return how many ids the image's accounts and the user take; nobody does not count."""
    highest = _LEAST_SIZE - 1
    for data in (accounts.passwd, accounts.group):
        for line in data.splitlines():
            fields = line.split(b":")
            for field in fields[2:4]:
                if field.isdigit() and len(field) <= 10 and int(field) != _NOBODY:
                    highest = max(highest, int(field))
    for word in (request.user or "").split(":"):
        if _is_id(word):
            highest = max(highest, int(word))
    return highest + 1


def _taken(host: "Host") -> tuple[list[IdRange], list[IdRange]]:
    """Return the ids of the host that other containers of --userns=auto have."""
    uids: list[IdRange] = []
    gids: list[IdRange] = []
    for container_id in container_ids(host.layout):
        try:
            record = read_record(host.layout, container_id)
        except StorageError:
            continue  # removed meanwhile, or damaged: then nobody can start it
        if str(record.request.get("userns", "")).partition(":")[0] == AUTO:
            uids += record.uid_map
            gids += record.gid_map
    return uids, gids


def _fill(
    size: int, chosen: list[Entry], default: tuple[IdRange, ...], taken: list[IdRange], kind: str
) -> tuple[IdRange, ...]:
    """Map what was chosen, then ids 0 to size from the subordinate ones that are free."""
    result = [line for entry in chosen for line in _host_lines(entry, default, f"{kind}mapping")]
    free = list(default[1:])
    for line in (*taken, *result):
        free = [piece for one in free for piece in _minus(one, line)]
    inside = 0
    for _, outside, count in free:
        while count and inside < size:
            block = next((r for r in result if r[0] <= inside < r[0] + r[2]), None)
            if block is not None:
                inside = block[0] + block[2]
                continue
            ahead = min((r[0] for r in result if r[0] > inside), default=size)
            step = min(count, size - inside, ahead - inside)
            result.append((inside, outside, step))
            inside, outside, count = inside + step, outside + step, count - step
    while any(r[0] <= inside < r[0] + r[2] for r in result) and inside < size:
        inside += 1
    if inside < size:
        raise HostError(
            f"--userns=auto: {size} free {kind}s are wanted, {inside} are left",
            remedy="remove containers of --userns=auto, ask for less with --userns=auto:size=N,"
            " or get more ids in /etc/subuid and /etc/subgid",
        )
    return tuple(sorted(result))


def _minus(line: IdRange, other: IdRange) -> list[IdRange]:
    """Return what of a line is left without the host's ids of another."""
    low, high = other[1], other[1] + other[2]
    start, end = line[1], line[1] + line[2]
    if end <= low or high <= start:
        return [line]
    pieces = []
    if start < low:
        pieces.append((line[0], start, low - start))
    if high < end:
        pieces.append((line[0] + high - start, high, end - high))
    return pieces
