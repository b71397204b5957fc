"""Verifying the store, and mending what is broken: fetched anew, made anew, or removed."""

from rootless.host.paths import Host
from rootless.images import (
    default_key,
    in_namespace,
    options_for,
    pull_options,
    with_credentials,
)
from rootless.linux.userns import IdMaps
from rootless.naming import remove
from storage.blobs import has_blob
from storage.check import (
    BLOB,
    IMAGE,
    LAYER,
    NAME,
    VIEW,
    Problem,
    check_blobs,
    check_layers,
    check_records,
    drop_problem,
    own_entries,
)
from storage.containers import read_record
from storage.errors import ContainerNotFound, InUse, InvalidDocument, RegistryError, StorageError
from storage.events import ignore
from storage.images import ImageRecord, all_digests
from storage.names import listdir
from storage.oci.descriptor import Descriptor
from storage.rebuild import rebuild
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent
    from rootless.linux.userns import Emit


class Finding(NamedTuple):
    """A problem, and what a repair did about it, empty when nothing was (or could be) done."""

    problem: Problem
    done: str = ""


def check(
    host: Host,
    *,
    quick: bool = False,
    repair: bool = False,
    force: bool = False,
    on_event: "OnEvent | None" = None,
) -> list[Finding]:
    """Verify records, blobs and unpacked layers; `quick` reads no content.

    A repair fetches a broken blob again, else removes the image that needs it, with `force` also
    when a container uses it. Raises StoreUnusable, DiskFull.
    """

    def found(problem: Problem) -> Finding:
        done = _mend(host, problem, force=force, on_event=on_event) if repair else ""
        return Finding(problem, done)

    # Blobs first: records can be made anew of them. Then what the names have lost by that.
    findings = [found(problem) for problem in list(check_blobs(host.layout, quick=quick))]
    findings += [found(problem) for problem in check_records(host.layout)]
    if repair:
        findings += [found(problem) for problem in check_records(host.layout)]
    if not quick:
        for key, maps in _known_maps(host).items():
            findings += _check_layers(host, key, maps, repair=repair)
    return findings


def _known_maps(host: Host) -> dict[str, IdMaps]:
    """Return the id maps that the layers of images and of containers were unpacked with."""
    found = {default_key(host): host.id_maps()}
    for container_id in listdir(host.layout.containers_dir):
        try:
            record = read_record(host.layout, container_id)
        except (ContainerNotFound, InvalidDocument):
            continue
        found.setdefault(record.map_key, IdMaps(record.uid_map, record.gid_map))
    return found


def _check_layers(host: Host, key: str, maps: IdMaps, *, repair: bool) -> list[Finding]:
    def work(emit: "Emit") -> object:
        return [list(problem) for problem in check_layers(host.layout, key, repair=repair)]

    raw = in_namespace(host, work, None, maps)
    assert isinstance(raw, list)
    problems = [Problem(kind, name, what, tuple(images)) for kind, name, what, images in raw]
    return [
        Finding(problem, "unpacked anew" if repair and problem.kind == LAYER else "")
        for problem in problems
    ]


def _mend(host: Host, problem: Problem, *, force: bool, on_event: "OnEvent | None") -> str:
    if problem.kind == BLOB:
        return _mend_blob(host, problem, force=force, on_event=on_event)
    if problem.kind in (NAME, VIEW) and rebuild(host.layout, problem):
        return "made again"
    drop_problem(host.layout, problem)
    if problem.kind == IMAGE and rebuild(host.layout, problem):
        return "made again from its manifest"
    return "removed"


def _mend_blob(host: Host, problem: Problem, *, force: bool, on_event: "OnEvent | None") -> str:
    users = [one for one in own_entries(host.layout) if problem.name in all_digests(one)]
    drop_problem(host.layout, problem)
    if not users:
        return "removed: nothing needs it"
    for record in users:
        for name in record.names:
            if _fetch(host, record, problem.name, parse_reference(name), on_event):
                return f"fetched again from {name}"
    gone = []
    for record in users:
        try:
            remove(host, f"sha256:{record.image_id}", force=True)
        except InUse as error:
            if not force:
                return f"image {record.image_id[:12]} stays: {error.message}; see --force"
            _force_out(host, record)
        except StorageError:
            continue
        gone.append(record.names[0] if record.names else record.image_id[:12])
    return f"it cannot be fetched: removed {', '.join(gone)}"


def _force_out(host: Host, record: ImageRecord) -> None:
    from rootless.container.ending import remove as remove_container
    from storage.images import image_users

    for container_id in image_users(host.layout, record):
        remove_container(host, container_id, force=True, volumes=True)
    remove(host, f"sha256:{record.image_id}", force=True)


def _fetch(
    host: Host,
    record: ImageRecord,
    digest: str,
    reference: Reference,
    on_event: "OnEvent | None",
) -> bool:
    """Fetch one blob by its digest from where the image came from; tell whether it is here."""
    if reference.registry == LOCAL_REGISTRY:
        return False
    from rootless.images import PullSettings
    from rootless.registries import load_registries
    from storage.registry.client import RegistryClient
    from storage.registry.fetch import Work, fetch_blob
    from storage.registry.registries import find_sources

    settings = PullSettings(retries=1)
    try:
        for source in find_sources(load_registries(host.environ), reference):
            options = options_for(source, pull_options(settings))
            options = with_credentials(host, source, options)
            client = RegistryClient(source.reference, options, host.environ)
            if digest in (record.manifest_digest, record.view_digest):
                _fetch_manifest(host, client, digest)
            else:
                work = Work(options, on_event or ignore)
                fetch_blob(host.layout, client, _descriptor(host, record, digest), work)
    except (RegistryError, StorageError):
        return has_blob(host.layout, digest)
    return has_blob(host.layout, digest)


def _fetch_manifest(host: Host, client: object, digest: str) -> None:
    from storage.blobs import write_blob
    from storage.registry.client import RegistryClient

    assert isinstance(client, RegistryClient)
    write_blob(host.layout, client.get_manifest(digest).data)


def _descriptor(host: Host, record: ImageRecord, digest: str) -> Descriptor:
    """Return what the manifest says of a blob. Raises BlobMissing, InvalidDocument."""
    from storage.blobs import read_blob
    from storage.oci.checks import parse_json
    from storage.oci.manifest import Manifest

    where = f"manifest {record.manifest_digest[:19]}"
    data = read_blob(host.layout, record.manifest_digest)
    manifest = Manifest.from_json(parse_json(data, where), where)
    return next(blob for blob in (manifest.config, *manifest.layers) if blob.digest == digest)
