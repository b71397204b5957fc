"""What takes up how much of the disk: every byte and inode of the store has one place.

`measure` walks the store, as root of the user namespace that owns the files; `sort_out` says what
they belong to. What several images share is counted once in every total, and so are bytes that
copies have in common on the disk (reflinks): they count where they are met first.
"""

import errno
import os
import stat
import time

from storage.build_cache import CachedStep, list_steps
from storage.containers import read_record
from storage.errors import ContainerNotFound, InvalidDocument
from storage.extents import SharedExtents
from storage.gc import PARTIAL_AGE_S, STRAY_AGE_S
from storage.images import ImageRecord, list_entries
from storage.layout import Layout
from storage.names import listdir
from storage.record import NamedTuple

_BLOCK_BYTES = 512
_PATH_LIMIT = 4000
_HOPS_LIMIT = 16


class Space(NamedTuple):
    """Bytes that are allocated on the disk, and inodes."""

    size_bytes: int = 0
    inodes: int = 0

    def plus(self, other: "Space") -> "Space":
        """Return the sum."""
        return Space(self.size_bytes + other.size_bytes, self.inodes + other.inodes)


class Part(NamedTuple):
    """Something in the store.

    `kind` is blobs, layers, containers, volumes, build, partial, tmp or other.
    """

    kind: str
    name: str
    space: Space
    changed_s: float


class ImageSpace(NamedTuple):
    """What one image takes up: its blobs, and its layers for every id map."""

    record: ImageRecord
    total: Space
    shared: Space
    containers: tuple[str, ...]


class Category(NamedTuple):
    """All objects of a kind; `reclaimable` is what a prune of them would free."""

    total: int
    active: int
    space: Space
    reclaimable: Space


class StoreUsage(NamedTuple):
    """The whole store; the five categories add up to everything in its directory."""

    images: Category
    containers: Category
    volumes: Category
    build_cache: Category
    other: Category
    image_spaces: tuple[ImageSpace, ...]
    container_spaces: dict[str, Space]
    volume_spaces: dict[str, Space]

    @property
    def categories(self) -> tuple[Category, ...]:
        """All categories."""
        return (self.images, self.containers, self.volumes, self.build_cache, self.other)

    @property
    def total(self) -> Space:
        """The sum of everything."""
        found = Space()
        for category in self.categories:
            found = found.plus(category.space)
        return found


def measure(layout: Layout) -> list[Part]:
    """Walk the store. Files that go away meanwhile are left out."""
    walk = _Walk(layout.store)
    parts = [
        *walk.children("blobs", layout.blobs_dir),
        *walk.children("partial", layout.partial_dir),
        *walk.children("tmp", layout.tmp_dir),
    ]
    # Layers before what is a copy of them: containers without an overlay.
    for key in listdir(layout.all_layers_dir):
        for part in walk.children("layers", layout.layers_dir(key)):
            parts.append(part._replace(name=f"{key}/{part.name}"))
    parts += [
        *walk.children("containers", layout.containers_dir),
        *walk.children("volumes", layout.volumes_dir),
        *walk.children("build", layout.build_cache_dir),
    ]
    # Whatever has not been seen yet: records, locks, and directories that others know.
    measured = (
        layout.blobs_dir,
        layout.partial_dir,
        layout.tmp_dir,
        layout.containers_dir,
        layout.volumes_dir,
        layout.build_cache_dir,
        layout.all_layers_dir,
    )
    rest = walk.tree(layout.store, without=frozenset(measured))
    for key in listdir(layout.all_layers_dir):
        top = layout.layers_dir(key)
        rest = rest.plus(walk.tree(top, without=frozenset((top,))))
    parts.append(Part("other", "", rest, 0.0))
    return parts


class _Walk:
    """Sums up trees; an inode that has been seen, under whatever name, does not count again."""

    __slots__ = ("_extents", "_seen")

    def __init__(self, store: str) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._extents = SharedExtents(store)

    def children(self, kind: str, directory: str) -> list[Part]:
        """Return each entry of a directory as a part."""
        found = []
        for name in listdir(directory):
            path = f"{directory}/{name}"
            try:
                changed_s = os.lstat(path).st_mtime
            except FileNotFoundError:
                continue
            found.append(Part(kind, name, self.tree(path), changed_s))
        return found

    def tree(self, top: str, *, without: frozenset[str] = frozenset(), hops: int = 0) -> Space:
        """Of the directories in `without` only they themselves count, not what is in them."""
        size_bytes = inodes = 0
        todo = [top]
        while todo:
            path = todo.pop()
            try:
                found = os.lstat(path)
                if self._is_new(found):
                    size_bytes += self._bytes_of(path, found)
                    inodes += 1
                if stat.S_ISDIR(found.st_mode) and path not in without:
                    with os.scandir(path) as entries:
                        for entry in entries:
                            if entry.is_dir(follow_symlinks=False):
                                todo.append(entry.path)
                                continue
                            found = entry.stat(follow_symlinks=False)
                            if self._is_new(found):
                                size_bytes += self._bytes_of(entry.path, found)
                                inodes += 1
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                # Removed just now; or of subordinate ids that the user has no more.
                continue
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                below = self._deep(path, hops)
                size_bytes += below.size_bytes
                inodes += below.inodes
        return Space(size_bytes, inodes)

    def _deep(self, path: str, hops: int) -> Space:
        """Sum up a directory whose path is longer than the kernel takes, up to a limit.

        A container can make such trees: directories are moved into each other.
        """
        cut = path.rfind("/", 0, _PATH_LIMIT)
        if hops >= _HOPS_LIMIT or cut <= 0:
            return Space()
        try:
            fd = os.open(path[:cut], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return Space()  # removed just now
        try:
            return self.tree(f"/proc/self/fd/{fd}{path[cut:]}", hops=hops + 1)
        finally:
            os.close(fd)

    def _is_new(self, found: os.stat_result) -> bool:
        identity = (found.st_dev, found.st_ino)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def _bytes_of(self, path: str, found: os.stat_result) -> int:
        size_bytes = found.st_blocks * _BLOCK_BYTES
        if size_bytes and stat.S_ISREG(found.st_mode):
            return max(size_bytes - self._extents.counted_before(path), 0)
        return size_bytes


def sort_out(
    layout: Layout,
    parts: list[Part],
    *,
    running: frozenset[str],
    used_volumes: frozenset[str],
    now_s: float | None = None,
) -> StoreUsage:
    """Say what the parts belong to; `running` are ids of containers."""
    now_s = time.time() if now_s is None else now_s
    records = [record for record in list_entries(layout) if not record.store]
    users = _image_users(layout)
    active = {record.manifest_digest for record in records if users.get(record.image_id)}
    of_image = {record.manifest_digest: _names_of(record) for record in records}
    images = [part for part in parts if part.kind in ("blobs", "layers")]
    owners = _owners(images, of_image)
    kept = _layers_of_containers(layout)
    image_parts = [part for part in images if owners[part]]
    reclaimable = [
        part for part in image_parts if not owners[part] & active and part.name not in kept
    ]
    other = [part for part in parts if part.kind in ("partial", "tmp", "other")]
    steps = [step for step, _ in list_steps(layout)]
    cached = _digests_of(steps)
    loose = [part for part in images if not owners[part]]
    build = [part for part in loose if part.name.rpartition("/")[2] in cached]
    build += [part for part in parts if part.kind == "build"]
    other += [part for part in loose if part.name.rpartition("/")[2] not in cached]
    stale = [part for part in other if _is_stale(part, now_s) and part.name not in kept]
    containers = {part.name: part.space for part in parts if part.kind == "containers"}
    volumes = {part.name: part.space for part in parts if part.kind == "volumes"}
    return StoreUsage(
        Category(len(records), len(active), _sum(image_parts), _sum(reclaimable)),
        _category(containers, running),
        _category(volumes, used_volumes),
        Category(len(steps), 0, _sum(build), _sum(build)),
        Category(len(other) - 1, 0, _sum(other), _sum(stale)),
        tuple(
            _image_space(record, image_parts, owners, users.get(record.image_id, ()))
            for record in records
        ),
        containers,
        volumes,
    )


def _digests_of(steps: list[CachedStep]) -> frozenset[str]:
    digests = (digest for step in steps for digest in (step.digest, step.chain_id))
    return frozenset(digest.removeprefix("sha256:") for digest in digests)


def _category(spaces: dict[str, Space], active: frozenset[str]) -> Category:
    total = reclaimable = Space()
    for name, space in spaces.items():
        total = total.plus(space)
        if name not in active:
            reclaimable = reclaimable.plus(space)
    return Category(len(spaces), len(active & spaces.keys()), total, reclaimable)


def _image_space(
    record: ImageRecord,
    parts: list[Part],
    owners: dict[Part, frozenset[str]],
    users: tuple[str, ...],
) -> ImageSpace:
    own = [part for part in parts if record.manifest_digest in owners[part]]
    shared = [part for part in own if len(owners[part]) > 1]
    return ImageSpace(record, _sum(own), _sum(shared), users)


def _names_of(record: ImageRecord) -> frozenset[str]:
    digests = (
        record.manifest_digest,
        record.view_digest,
        record.config_digest,
        *record.layer_digests,
        *record.chain_ids,
    )
    return frozenset(digest.removeprefix("sha256:") for digest in digests)


def _owners(parts: list[Part], of_image: dict[str, frozenset[str]]) -> dict[Part, frozenset[str]]:
    by_name: dict[str, set[str]] = {}
    for digest, names in of_image.items():
        for name in names:
            by_name.setdefault(name, set()).add(digest)
    return {part: frozenset(by_name.get(part.name.rpartition("/")[2], ())) for part in parts}


def _image_users(layout: Layout) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for container_id in listdir(layout.containers_dir):
        try:
            image_id = read_record(layout, container_id).image_id
        except (ContainerNotFound, InvalidDocument):
            continue
        found[image_id] = (*found.get(image_id, ()), container_id)
    return found


def _layers_of_containers(layout: Layout) -> frozenset[str]:
    found: set[str] = set()
    for container_id in listdir(layout.containers_dir):
        try:
            record = read_record(layout, container_id)
        except (ContainerNotFound, InvalidDocument):
            continue
        hexes = (chain.removeprefix("sha256:") for chain in record.chain_ids)
        found.update(f"{record.map_key}/{chain}" for chain in hexes)
    return frozenset(found)


def _is_stale(part: Part, now_s: float) -> bool:
    """Tell whether the garbage collection would take it now."""
    if part.kind in ("blobs", "layers"):
        return part.changed_s < now_s - STRAY_AGE_S
    return part.kind == "partial" and part.changed_s < now_s - PARTIAL_AGE_S


def _sum(parts: list[Part]) -> Space:
    found = Space()
    for part in parts:
        found = found.plus(part.space)
    return found
