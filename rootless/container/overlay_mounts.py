"""Mounts that need an overlay or a part of a tree: `-v SRC:DST:O`, `--mount type=image`, subpaths.

What is written to an overlay lies in the container's directory, and is thrown away at its next
start.
"""

import os

from rootless.container.mounts import BIND, IMAGE, UserMount
from rootless.errors import HostError, UsageError
from rootless.sandbox.defaults import OVERLAY_ROOT, SUBPATH
from rootless.sandbox.drivers import OVERLAY
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.idmap import UserNamespace
    from rootless.host.paths import Host
    from storage.containers import ContainerView

_PLACES = "overlays"


class Tree(NamedTuple):
    """Directories of the host, the top one first; `place` in the bundle where they are an overlay.

    `own` are an upper and a work directory of the user's choice.
    """

    lower: tuple[str, ...]
    is_writable: bool = False
    place: str = ""
    own: tuple[str, str] = ("", "")
    chain_ids: tuple[str, ...] = ()


def find_tree(
    host: "Host",
    mount: UserMount,
    path: str,
    namespace: "UserNamespace",
    key: str,
    position: int,
) -> Tree:
    """Return what a mount shows; the layers of an image are unpacked for it.

    Raises ImageNotFound, HostError, UsageError.
    """
    place = f"{_PLACES}/{position}"
    writable = mount.overlay or "rw" in mount.options
    if mount.kind != IMAGE:
        if not mount.overlay:
            return Tree((path,))
        _check_driver(host, namespace, f"{path}:O")
        return Tree((path,), True, place, (mount.places[0], mount.places[1]))
    from rootless import images
    from rootless.container.idmap import storage_maps
    from storage.images import find_image

    image = find_image(host.layout, mount.source)
    images.ensure_unpacked(host, image, storage_maps(namespace, host.id_maps()), key, None)
    chains = image.chain_ids
    if writable or len(chains) > 1:
        _check_driver(host, namespace if writable else None, f"image {mount.source}")
    lower = tuple(host.layout.layer_diff(key, chain) for chain in reversed(chains))
    return Tree(lower, writable, place if writable or len(chains) > 1 else "", chain_ids=chains)


def _check_driver(host: "Host", namespace: "UserNamespace | None", what: str) -> None:
    from rootless.host.probe import storage_driver

    driver = storage_driver(host)
    if driver != OVERLAY:
        raise HostError(
            f"mount {what}: it takes overlayfs, which this host does not give ({driver})",
            remedy="`rpod doctor` says what is missing; or mount a copy of the directory",
        )
    if namespace is not None and namespace.own_uid is None:
        raise UsageError(
            f"mount {what}: your own id, which writes to it, is not in the container's map",
            remedy="use --userns=host or keep-id",
        )


def make_places(trees: "list[Tree]", bundle: str) -> None:
    """Make the directories of a bundle that overlays are mounted on and write to."""
    for tree in trees:
        if not tree.place:
            continue
        os.makedirs(f"{bundle}/{tree.place}/root", mode=0o755)
        if tree.is_writable:
            os.mkdir(f"{bundle}/{tree.place}/work", 0o755)
            os.mkdir(f"{bundle}/{tree.place}/upper", 0o755)
            os.chmod(f"{bundle}/{tree.place}/upper", os.stat(tree.lower[0]).st_mode & 0o7777)


def to_entry(mount: UserMount, tree: Tree, directory: str) -> dict[str, object]:
    """Return the entry of config.json; `directory` is the container's."""
    flags = [word for word in mount.options if word not in ("rw", "copyup")]
    if mount.subpath:
        flags.append(f"{SUBPATH}={mount.subpath}")
    kind, source = BIND, tree.lower[0]
    if tree.place:
        kind = source = "overlay"
        base = f"{directory}/{tree.place}"
        flags += [f"lowerdir={path}" for path in tree.lower]
        flags.append(f"{OVERLAY_ROOT}={base}/root")
        if tree.is_writable:
            upper, work = tree.own if tree.own[0] else (f"{base}/upper", f"{base}/work")
            flags += [f"upperdir={upper}", f"workdir={work}"]
    else:
        flags = [*(word for word in flags if word not in ("bind", "rbind")), "rbind"]
    return {"destination": mount.target, "type": kind, "source": source, "options": flags}


def throw_away(host: "Host", view: "ContainerView") -> None:
    """Empty the overlays of a container that is about to start."""
    from storage.scratch import Scratch

    places = [view.paths.directory] if view.record.request.get("rootfs_kind") == "overlay" else []
    if os.path.isdir(view.paths.overlays):
        places += [f"{view.paths.overlays}/{name}" for name in os.listdir(view.paths.overlays)]
    with Scratch(host.layout, "removed") as scratch:
        for position, place in enumerate(places):
            _renew(host, view, place, f"{scratch.path}/{position}")


def _renew(host: "Host", view: "ContainerView", place: str, aside: str) -> None:
    upper = f"{place}/upper"
    try:
        if not os.listdir(upper):
            return
    except FileNotFoundError:
        return  # it is not written to
    found = os.stat(upper)
    os.mkdir(aside, 0o700)
    for part in ("upper", "work"):
        os.rename(f"{place}/{part}", f"{aside}/{part}")
        os.mkdir(f"{place}/{part}", 0o755)
    os.chmod(upper, found.st_mode & 0o7777)
    if found.st_uid != os.geteuid():
        _give(host, view, place)
    _remove(host, aside)


def _give(host: "Host", view: "ContainerView", place: str) -> None:
    """Let the directories belong to root of the container, who is not the caller."""
    from rootless.linux.userns import IdMaps, run_in_userns, to_host

    record = view.record
    ids = to_host(record.uid_map, 0), to_host(record.gid_map, 0)
    default = host.id_maps()
    inside = [
        next(i + wanted - o for i, o, count in ranges if o <= wanted < o + count)
        for wanted, ranges in zip(ids, (default.uids, default.gids), strict=True)
        if wanted is not None
    ]

    def give(_: object) -> None:
        for part in ("upper", "work"):
            os.chown(f"{place}/{part}", inside[0], inside[1])

    run_in_userns(give, IdMaps(default.uids, default.gids))


def _remove(host: "Host", path: str) -> None:
    from storage.remove import remove_tree

    try:
        remove_tree(path)
    except PermissionError:
        from rootless.linux.userns import run_in_userns

        run_in_userns(lambda _: remove_tree(path), host.id_maps())
