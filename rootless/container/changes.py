"""`diff`: what a container has changed in its image, read off its upper directory.

Directories that only lower layers have are never opened, so the cost is that of the changes.
"""

import os

from rootless.container.rootfs import make_root
from rootless.linux.userns import IdMaps, run_in_userns
from rootless.sandbox.drivers import COPY, SQUASH
from rootless.sandbox.plan import Config
from storage.containers import find_container, read_config
from storage.layer_diff import CHANGED, diff_trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.single_file import Mount
    from rootless.host.paths import Host
    from storage.layout import ContainerPaths

# What rpod itself puts into every root file system to mount there.
_OWN = frozenset(("/run/.containerenv", "/run", "/etc/mtab"))


def container_changes(host: "Host", text: str) -> list[tuple[str, str]]:
    """Return pairs of A, C or D and an absolute path, sorted by path.

    Raises ContainerNotFound, HostError, StoreUnusable.
    """
    found = find_container(host.layout, text)
    root = make_root(host, found)
    after = [root.rootfs] if root.driver == COPY else [root.upper, *root.lower]
    copied_ns = _copied_ns(found.paths) if root.driver == COPY else 0
    opened: list[bytes] = []
    mount: Mount | None = None

    def prepare() -> None:
        # With the caller's own id: root of the namespace may not be allowed through their home.
        nonlocal mount
        if root.driver == SQUASH:
            from rootless.container.single_file import prepare_mount

            point, mount = prepare_mount(root)
            opened.append(os.fsencode(point))
        for path in [*root.lower, *after][len(opened) :]:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
            opened.append(b"/proc/self/fd/%d/." % fd)
        if root.driver == SQUASH:
            opened[-1] = opened[0]

    def work(_: object) -> object:
        take_away = mount() if mount is not None else None
        count = len(root.lower)
        changes = diff_trees(
            tuple(opened[:count]),
            tuple(opened[count:]),
            is_upper=root.driver != COPY,
            copied_ns=copied_ns,
        )
        if take_away is not None:
            take_away()
        return [(change.kind, os.fsdecode(change.path)) for change in changes]

    config = Config(read_config(found.paths))
    places = _OWN | {entry.text("destination") for entry in config.parts("mounts")}
    record = found.record
    maps = IdMaps(record.uid_map, record.gid_map)
    result = run_in_userns(work, maps, prepare=prepare, new_mounts=root.driver == SQUASH)
    assert isinstance(result, list)
    return _without_own([(str(kind), str(path)) for kind, path in result], places)


def _copied_ns(paths: "ContainerPaths") -> int:
    """Return when the root of a container was copied; 0 for one of an older rpod."""
    try:
        return os.stat(paths.copied).st_mtime_ns
    except FileNotFoundError:
        return 0


def _without_own(changes: list[tuple[str, str]], hidden: frozenset[str]) -> list[tuple[str, str]]:
    """Leave out mount points, and directories that only they have changed."""
    kept: list[tuple[str, str]] = []
    # A directory stands before what is in it, so from the end each knows whether anything is.
    needed: set[str] = set()
    emptied: set[str] = set()
    for kind, path in reversed(changes):
        parent = path.rpartition("/")[0]
        is_own = path in hidden and kind != "D"
        is_left = kind == CHANGED and path in emptied
        if path not in needed and (is_own or is_left):
            emptied.add(parent)
            continue
        needed.add(parent)
        kept.append((kind, path))
    return kept[::-1]
