"""`commit`: an image of what a container has changed, on top of the image it was made from.

Its upper directory is packed by root of the container's user namespace, where owners are those of
the container, and stored by the caller, whose the blobs are. Where the root is no overlay of the
kernel's it is compared with the image, and what has changed is packed out of the container.
"""

import os
from collections.abc import Callable, Iterator

from rootless.container.export import write_all, write_changes, write_root
from rootless.container.inside import Inside, Job
from rootless.images import default_key
from rootless.linux.userns import IdMaps, run_in_userns
from rootless.sandbox.drivers import OVERLAY, SQUASH
from rootless.sandbox.plan import Config
from storage import event_log
from storage.committing import Commit, store_layer, write_commit
from storage.containers import ContainerView, find_container, read_config
from storage.files import make_store
from storage.images import ImageRecord, commit_image, find_image, image_config
from storage.layout import Layout
from storage.owners import ROOT, Owner, known_links, recorded
from storage.pack import END, OwnerOf, Packer, recorded_owner
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, parse_reference
from storage.unpacking import ensure_layers
from storage.xattrs import read_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_CHUNK_BYTES = 1 << 18
# Set by rpod for each start; an image would freeze them.
_OF_THE_START = ("HOME", "HOSTNAME", "TERM", "container")


ImageSettings = dict[str, object]


class CommitOptions(NamedTuple):
    """What `commit` was asked for besides the container; `name` may be empty.

    `changes` edits the configuration of the image. `squash` makes one layer of everything;
    `include_volumes` lets the image have a volume wherever the container has something mounted;
    without it only an anonymous volume becomes one.
    """

    name: str = ""
    changes: "Callable[[ImageSettings], ImageSettings] | None" = None
    author: str = ""
    message: str = ""
    docker: bool = False
    squash: bool = False
    include_volumes: bool = False


def commit(host: "Host", text: str, options: CommitOptions) -> ImageRecord:
    """Make an image of a container.

    Raises ContainerNotFound, ImageNotFound, InvalidReference, InvalidDocument, HostError.
    """
    found = find_container(host.layout, text)
    record = found.record
    name = None
    if options.name:
        name = str(parse_reference(options.name, default_registry=LOCAL_REGISTRY))
    base = find_image(host.layout, record.image_digest)
    config = _config(host, base, found)
    config = _with_volumes(config, found, every=options.include_volumes)
    if options.changes is not None:
        config = options.changes(config)
    make_store(host.layout)
    if options.squash:
        packed = _pack_inside(host, found, write_root)
    elif record.driver in (OVERLAY, SQUASH):
        packed = _pack(host.layout, found)
    else:
        packed = _pack_changes(host, found)
    layer = store_layer(host.layout, packed)
    made = Commit(
        config,
        options.author,
        options.message,
        " ".join(record.command),
        docker=options.docker,
        squash=options.squash,
    )
    digest = write_commit(host.layout, base, layer, made)
    image = commit_image(host.layout, manifest_digest=digest, name=name, map_key=None)
    key = default_key(host)
    run_in_userns(lambda _: ensure_layers(host.layout, key, image), host.id_maps())
    event_log.container_event(host.layout.run_root, "commit", record=record)
    return image


def _config(host: "Host", base: ImageRecord, found: ContainerView) -> dict[str, object]:
    """Return the configuration of the image with what the container was given instead."""
    record = found.record
    raw = image_config(host.layout, base).raw.get("config")
    config = dict(raw) if isinstance(raw, dict) else {}
    request = record.request
    command = request.get("command") or []
    assert isinstance(command, list)
    if request.get("entrypoint") is not None:
        config["Entrypoint"] = list(record.command[: len(record.command) - len(command)])
        config.pop("Cmd", None)
    if command:
        config["Cmd"] = command
    if request.get("user"):
        config["User"] = request["user"]
    if request.get("workdir"):
        config["WorkingDir"] = request["workdir"]
    if record.labels:
        labels = config.get("Labels")
        config["Labels"] = {**(labels if isinstance(labels, dict) else {}), **record.labels}
    process = Config(read_config(found.paths)).part("process")
    known = config.get("Env")
    names = {str(entry).partition("=")[0] for entry in (known if isinstance(known, list) else [])}
    config["Env"] = [
        entry
        for entry in process.texts("env")
        if entry.partition("=")[0] in names or entry.partition("=")[0] not in _OF_THE_START
    ]
    return config


def _with_volumes(config: ImageSettings, found: ContainerView, *, every: bool) -> ImageSettings:
    """Add where the container has anonymous volumes, or where it has `every` kind of mount."""
    record = found.record
    places = [
        str(entry.get("Destination"))
        for entry in record.mounts
        if every or entry.get("Name") in record.anonymous_volumes
    ]
    if every:
        tmpfs = record.request.get("tmpfs") or []
        assert isinstance(tmpfs, list)
        places += [str(text).partition(":")[0] for text in tmpfs]
    if not places:
        return config
    known = config.get("Volumes")
    volumes = dict(known) if isinstance(known, dict) else {}
    return {**config, "Volumes": {**volumes, **{place: {} for place in places}}}


def _pack_changes(host: "Host", found: ContainerView) -> Iterator[bytes]:
    """Yield the layer of a container whose changes no overlay of the kernel keeps apart."""
    from rootless.container.changes import container_changes

    changes = [(kind, os.fsencode(path)) for kind, path in container_changes(host, found.record.id)]

    def write(name: str, output: int, packer: Packer) -> None:
        write_changes(name, output, packer, changes)

    return _pack_inside(host, found, write)


def _pack_inside(
    host: "Host", found: ContainerView, write: "Callable[[str, int, Packer], None]"
) -> Iterator[bytes]:
    """Yield what `write` packs of the root; what is mounted in it is left out."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    record = found.record
    # xattr is loaded by its first use, which must not be inside.
    read_allowed("/")
    with Inside(host, record.id) as inside:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        layers = [host.layout.layer_diff(record.map_key, one) for one in record.chain_ids]
        opened = [os.open(layer, flags) for layer in layers if os.path.isdir(layer)]
        maps = IdMaps(record.uid_map, record.gid_map)
        owner_of = _single_owners(found, opened) if maps.is_single else recorded_owner
        packer = Packer(owner_of=owner_of, sparse=False)
        try:
            job = inside.start(lambda: write(record.name, writer, packer))
        finally:
            for one in (*opened, writer):
                os.close(one)
        try:
            while chunk := os.read(reader, _CHUNK_BYTES):
                yield chunk
        finally:
            os.close(reader)
        job.result()


def _pack(layout: Layout, found: ContainerView) -> Iterator[bytes]:
    """Yield the layer. Raises what went wrong at the packing end."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    layers = [layout.layer_diff(found.record.map_key, one) for one in found.record.chain_ids]
    job = Job(lambda: _packing(found, layers, reader, writer))
    os.close(writer)
    try:
        while chunk := os.read(reader, _CHUNK_BYTES):
            yield chunk
    finally:
        os.close(reader)
    job.result()


def _packing(found: ContainerView, layers: list[str], reader: int, writer: int) -> None:
    os.close(reader)
    # Opened with the caller's own id: root of the namespace may not be allowed through their home.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    top = os.open(found.paths.upper, flags)
    maps = IdMaps(found.record.uid_map, found.record.gid_map)
    owner_of: OwnerOf = recorded_owner
    if maps.is_single:
        owner_of = _single_owners(found, [os.open(layer, flags) for layer in layers])

    def work(_: object) -> None:
        for piece in Packer(layer=True, owner_of=owner_of).tree(top, b""):
            write_all(writer, piece)
        write_all(writer, END)

    run_in_userns(work, maps)


def _single_owners(found: ContainerView, layers: list[int]) -> OwnerOf:
    """Return who owns a file where every file has the same owner on disk.

    It is whom the image or root emulation has recorded. Else root owns what the image has as well,
    and the container's own user what is new.
    """
    try:
        file = os.open(f"{found.paths.directory}/links", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        links = {}
    else:
        links = known_links(file)
        os.close(file)
    is_root = found.record.uid_map[0][0] == 0 and found.record.gid_map[0][0] == 0

    def owner_of(name: bytes, fd: int, status: os.stat_result) -> Owner | None:
        owner = recorded(fd) if fd >= 0 else links.get(status.st_ino)
        if owner is not None or is_root:
            return owner
        is_old = not name or any(_has(layer, name) for layer in layers)
        return ROOT if is_old else None

    return owner_of


def _has(layer: int, name: bytes) -> bool:
    try:
        os.lstat(name, dir_fd=layer)
    except OSError:
        return False
    return True
