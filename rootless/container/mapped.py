"""Layers of the default id map in a container with another one, by fuse-overlayfs.

It can show what lies on the disk under other ids (`uidmapping`, `gidmapping`), so the layers need
not be made a second time. The kernel's own overlay cannot: a user has no idmapped mounts.
"""

from rootless.container.idmap import HOST, UserNamespace
from rootless.linux.userns import IdMaps, IdRange


def with_layers_of(default: IdMaps, namespace: UserNamespace) -> UserNamespace:
    """Let a container use the layers of the default map, where its own namespace sees all ids."""
    if namespace.mode == HOST or default.is_single or namespace.maps == default:
        return namespace
    if not mapping_options(default, namespace.maps):
        return namespace
    return namespace._replace(layers=default)


def mapping_options(disk: IdMaps, seen: IdMaps) -> str:
    """Return the options with which files of the map `disk` look right in a namespace.

    Empty where the namespace has no place for an id that is on the disk.
    """
    uids, gids = _pairs(disk.uids, seen.uids), _pairs(disk.gids, seen.gids)
    return f",uidmapping={uids},gidmapping={gids}" if uids and gids else ""


def _pairs(disk: tuple[IdRange, ...], seen: tuple[IdRange, ...]) -> str:
    """Return triples: an id as the namespace sees it on the disk, what it stands for, how many."""
    found = []
    for inside, outside, count in disk:
        at = 0
        while at < count:
            host_id = outside + at
            place = next((one for one in seen if one[1] <= host_id < one[1] + one[2]), None)
            if place is None:
                return ""
            length = min(count - at, place[1] + place[2] - host_id)
            found.append(f"{place[0] + host_id - place[1]}:{inside + at}:{length}")
            at += length
    return ":".join(found)
