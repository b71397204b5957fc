"""Which user ids a container sees: `--userns`, from the caller's default map.

Layers lie on disk with host ids, so each kind of map has unpacked layers of its own (map key);
they come from the stored blobs the first time.
"""

from rootless.errors import HostError, UsageError
from rootless.linux.userns import IdMaps, IdRange
from storage.record import NamedTuple

HOST, KEEP_ID, NOMAP = "host", "keep-id", "nomap"
# The last one stands for "no id" (chown(2)).
_MAX_ID = 2**32 - 2


class UserNamespace(NamedTuple):
    """The map, and the id that the caller has inside (None when it is not mapped).

    `emulation` is the mode of root emulation, empty for none (`rootless.container.emulate`).
    `layers` is the map of the layers on the disk where it is another (`rootless.container.mapped`).
    """

    mode: str
    maps: IdMaps
    own_uid: int | None
    own_gid: int | None
    emulation: str = ""
    layers: IdMaps | None = None


def choose(mode: str, default: IdMaps, uid: int, gid: int) -> UserNamespace:
    """Return the namespace for a `--userns` value.

    Raises UsageError, HostError.
    """
    name, _, options = mode.partition(":")
    if options and name in ("", HOST, "private", NOMAP):
        raise UsageError(f"--userns={mode}: {name} takes no options")
    if name in ("", HOST, "private"):
        return UserNamespace(HOST, default, 0, 0)
    if name == KEEP_ID:
        inside_uid, inside_gid, size = _keep_id_options(options, uid, gid)
        maps = IdMaps(
            _cut(_keep(default.uids, inside_uid), size, inside_uid),
            _cut(_keep(default.gids, inside_gid), size, inside_gid),
        )
        return UserNamespace(KEEP_ID, maps, inside_uid, inside_gid)
    if name == NOMAP:
        if default.is_single:
            raise HostError(
                "--userns=nomap: without subordinate ids there is nothing but your own id to map",
                remedy="run `rpod doctor` for the line that /etc/subuid and /etc/subgid need",
            )
        return UserNamespace(
            NOMAP, IdMaps(_without_own(default.uids), _without_own(default.gids)), None, None
        )
    raise UsageError(
        f"--userns={mode}: unknown user namespace mode", remedy="use host, keep-id, nomap or auto"
    )


def fit_single_id(namespace: UserNamespace, uid: int, gid: int) -> UserNamespace:
    """Let the one id that there is stand for the user that the container's process runs as."""
    if not namespace.maps.is_single or namespace.mode != HOST:
        return namespace
    (_, own_uid, _), (_, own_gid, _) = namespace.maps.uids[0], namespace.maps.gids[0]
    maps = IdMaps(((uid, own_uid, 1),), ((gid, own_gid, 1),))
    return namespace._replace(maps=maps, own_uid=uid, own_gid=gid)


def _keep_id_options(text: str, uid: int, gid: int) -> tuple[int, int, int]:
    values = {"uid": uid, "gid": gid, "size": 0}
    for entry in text.split(",") if text else ():
        key, _, value = entry.partition("=")
        if key not in values or not value.isdecimal():
            raise UsageError(f"--userns=keep-id: {entry!r} is none of uid=N, gid=N, size=N")
        if len(value) > len(str(_MAX_ID)) or int(value) > _MAX_ID:
            raise UsageError(f"--userns=keep-id: {entry!r} is out of range")
        values[key] = int(value)
    return values["uid"], values["gid"], values["size"]


def _cut(ranges: tuple[IdRange, ...], size: int, own: int) -> tuple[IdRange, ...]:
    """Leave ids below `size` and the caller's own; 0 leaves all."""
    if not size:
        return ranges
    kept = [(i, o, min(count, size - i)) for i, o, count in ranges if i < size]
    return tuple(kept + [line for line in ranges if line[0] == own >= size])


def _keep(ranges: tuple[IdRange, ...], own: int) -> tuple[IdRange, ...]:
    """Put the caller's id at `own` and the subordinate ids around it, from 0 on."""
    caller, *rest = ranges
    result: list[IdRange] = []
    inside = 0
    for _, outside, count in rest:
        if inside < own < inside + count:
            before = own - inside
            result.append((inside, outside, before))
            result.append((own, caller[1], 1))
            result.append((own + 1, outside + before, count - before))
            inside = own + 1 + count - before
            continue
        if inside == own:
            result.append((own, caller[1], 1))
            inside += 1
        result.append((inside, outside, count))
        inside += count
    if not any(entry[1] == caller[1] and entry[2] == 1 for entry in result):
        result.append((own, caller[1], 1))
    return tuple(result)


def _without_own(ranges: tuple[IdRange, ...]) -> tuple[IdRange, ...]:
    return tuple((inside - 1, outside, count) for inside, outside, count in ranges[1:])


def layer_maps(namespace: UserNamespace, default: IdMaps) -> IdMaps:
    """Return the map of the layers, and of what the container writes over them."""
    return namespace.layers or storage_maps(namespace, default)


def storage_maps(namespace: UserNamespace, default: IdMaps) -> IdMaps:
    """Return the map in which layers for this namespace are unpacked.

    The process that unpacks writes to the caller's store, so the caller's id has to be mapped:
    where it is not (nomap, auto) it is put behind the last id, where no image has a file.
    """
    if default.is_single:
        return default  # the one owner on disk is the same, whatever it is called inside
    uids, gids = namespace.maps.uids, namespace.maps.gids
    if namespace.own_uid is None:
        uids = (*uids, _behind(uids, default.uids[0][1]))
    if namespace.own_gid is None:
        gids = (*gids, _behind(gids, default.gids[0][1]))
    return IdMaps(uids, gids)


def _behind(ranges: tuple[IdRange, ...], host_id: int) -> IdRange:
    return (max(inside + count for inside, _, count in ranges), host_id, 1)
