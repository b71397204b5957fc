"""Make a container: decide everything, write its bundle, give it its name.

The bundle is built aside and appears by one rename; a name is given last. A crash in between
leaves at most a nameless container, which `ps -a` shows, or an entry in `tmp/` that the next
command removes.
"""

import os

from rootless import images
from rootless.container import mounts as user_mounts
from rootless.container import spec
from rootless.container.bundle import NAME_FILE, write_bundle, write_new
from rootless.container.create_record import log_options_of, make_record, restart_policy
from rootless.container.fetching import pull_settings
from rootless.container.idmap import HOST, UserNamespace, choose, fit_single_id, layer_maps
from rootless.container.limits import clamp_oom_score
from rootless.container.merged import read_accounts
from rootless.container.names import check_name, make_name
from rootless.container.network_choice import choose_network
from rootless.container.request import ContainerRequest
from rootless.container.sources import find_sources
from rootless.errors import RootlessError, UsageError, of_option
from rootless.host.paths import Host
from rootless.sandbox.drivers import COPY, FUSE, SQUASH
from storage import event_log
from storage.containers import ContainerRecord, find_id, name_owner, new_id, take_name
from storage.errors import ContainerNotFound, NameTaken, StoreUnusable
from storage.files import Lock, read_file
from storage.images import ImageRecord
from storage.layers import map_key
from storage.oci.config import ImageConfig
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent
    from rootless.linux.userns import IdMaps

# As in storage.squashfs, which is loaded for such files alone.
_FILES = (".sqfs", ".sqsh", ".squashfs", ".sif", ".simg")


class Place(NamedTuple):
    """Where a container belongs: an id that was chosen for it, its pod, and what it is there."""

    container_id: str = ""
    pod: str = ""
    is_infra: bool = False


_NO_PLACE = Place()


def create(
    host: Host,
    request: ContainerRequest,
    on_event: "OnEvent | None" = None,
    place: Place = _NO_PLACE,
) -> ContainerRecord:
    """Make a container from a request and return its record; the image is pulled if needed.

    What belongs in a pod is made by `rootless.container.pods_join.create_in_pod`.

    Raises UsageError, NameTaken, ImageNotFound, RegistryError, MountSourceMissing, UnknownUser.
    """
    _check(host, request)
    if request.sdnotify == "container" and "NOTIFY_SOCKET" in host.environ:
        from rootless.container.activation import give_notify_socket

        volumes, variables = give_notify_socket(request.volume, request.env, host.environ)
        request = request._replace(volume=volumes, env=variables)
    _note_what_is_less(host, request)
    if request.name and not request.replace:
        _check_free(host, request.name)
    found = _image(host, request, on_event)
    return create_from(host, request, found, place, on_event)


def create_from(
    host: Host,
    request: ContainerRequest,
    found: tuple[ImageRecord, ImageConfig] | None,
    place: Place,
    on_event: "OnEvent | None" = None,
) -> ContainerRecord:
    """Make a container of an image that is here. Raises what `create` does."""
    try:
        return _create_from(host, request, found, place, on_event)
    except (PermissionError, RootlessError, StoreUnusable) as error:
        from rootless.container.reach import explain_closed

        explained = explain_closed(host.layout.store, host.id_maps(), error)
        if explained is None:
            raise
        raise explained from error


def _create_from(
    host: Host,
    request: ContainerRequest,
    found: tuple[ImageRecord, ImageConfig] | None,
    place: Place,
    on_event: "OnEvent | None",
) -> ContainerRecord:
    request, joins = _joins(host, request)
    if joins:
        from rootless.container.joined import shared_user_namespace

        namespace = shared_user_namespace(host, request.userns, joins)
    elif request.userns.partition(":")[0] == "auto":
        # The ids are this container's alone from the choice until its record says so.
        with Lock(host.layout.lock("userns")):
            namespace = _auto_namespace(host, request, found, on_event)
            return _create(host, request, _Given(found, place, namespace, joins), on_event)
    else:
        namespace = _choose_namespace(host, request)
    return _create(host, request, _Given(found, place, namespace, joins), on_event)


def _image(
    host: Host, request: ContainerRequest, on_event: "OnEvent | None"
) -> tuple[ImageRecord, ImageConfig] | None:
    """Return the image and its configuration; None when the request names a file that is one."""
    if request.rootfs_kind:
        from rootless.container.plain_rootfs import check_directory

        return check_directory(host, request)
    if request.rootfs:
        from rootless.container.host_copy import no_image

        return no_image(request.rootfs)
    if request.image.endswith(_FILES) and _is_file(request.image):
        return None
    image = images.obtain(host, request.image, pull_settings(request), on_event)
    return image, images.config_of(host, image)


def _choose_namespace(host: Host, request: ContainerRequest) -> UserNamespace:
    if request.uidmap or request.gidmap:
        from rootless.container.idmap_options import mapped_namespace

        return mapped_namespace(request.uidmap, request.gidmap, request.userns, host.id_maps())
    return choose(request.userns, host.id_maps(), host.uid, host.gid)


def _auto_namespace(
    host: Host,
    request: ContainerRequest,
    found: tuple[ImageRecord, ImageConfig] | None,
    on_event: "OnEvent | None",
) -> UserNamespace:
    from rootless.container.idmap_options import auto_namespace, check_auto

    check_auto(request)
    maps = host.id_maps()
    # How many ids it takes is written in the image's own files.
    image, _, key, _ = _unpack(host, request, found, maps, on_event)
    return auto_namespace(host, request, read_accounts(_layers(host, request, image, key), maps))


class _Given(NamedTuple):
    """What a container is made of, and where it belongs."""

    found: tuple[ImageRecord, ImageConfig] | None
    place: Place
    namespace: UserNamespace
    joins: dict[str, str]


def _create(
    host: Host, request: ContainerRequest, given: _Given, on_event: "OnEvent | None"
) -> ContainerRecord:
    """Make a container in a user namespace that has been chosen."""
    found, place, namespace, joins = given
    if namespace.mode != HOST and not joins:
        namespace = _with_mapped_layers(host, namespace)
    unpack_maps = layer_maps(namespace, host.id_maps())
    image, config, key, driver = _unpack(host, request, found, unpack_maps, on_event)
    if place.is_infra and not image.image_id:
        driver = COPY
    accounts = None
    if namespace.maps.is_single and not joins:
        accounts = read_accounts(_layers(host, request, image, key), unpack_maps)
        user = spec.wanted_user(request, config, namespace, accounts)
        namespace = fit_single_id(namespace, user.uid, user.gid)
    if driver == SQUASH and namespace.maps.is_single:
        from rootless.container.single_file import why_not_owned

        if why_not := why_not_owned(namespace.maps):
            unpacked = _unpack(host, request, found, unpack_maps, on_event, why_not)
            image, config, key, driver = unpacked
    if namespace.maps.is_single or request.root_emulation not in ("auto", "off"):
        from rootless.container.emulate import choose_for_image

        layers = _layers(host, request, image, key)
        namespace = choose_for_image(host, request, namespace, layers, accounts)
    if request.name and request.replace:
        _remove_named(host, request.name)
    basis = _Basis(image, config, namespace, (key, driver), joins, unpack_maps.is_single)
    if place.pod and not place.is_infra:
        from storage.pods import pod_lock

        with pod_lock(host.layout, place.pod, shared=True):
            record = _make(host, request, basis, place)
    else:
        record = _make(host, request, basis, place)
    return _give_name(host, record, is_generated=request.name is None)


def _with_mapped_layers(host: Host, namespace: UserNamespace) -> UserNamespace:
    from rootless.host.probe import storage_driver

    if storage_driver(host) != FUSE:
        return namespace
    from rootless.container.mapped import with_layers_of

    return with_layers_of(host.id_maps(), namespace)


class _Basis(NamedTuple):
    """What a container is made of."""

    image: ImageRecord
    config: ImageConfig
    namespace: UserNamespace
    key_and_driver: tuple[str, str]
    joins: dict[str, str]
    is_single: bool


def _make(host: Host, request: ContainerRequest, basis: _Basis, place: Place) -> ContainerRecord:
    """Let the container appear, still without its name."""
    made: list[str] = []
    image, config, namespace, (key, driver), joins, is_single = basis
    if b"\nSeccomp:\t0\n" not in read_file("/proc/self/status"):
        from rootless.container.enclosed import fit_host_name

        request = fit_host_name(host, request)
    try:
        # From the look for layers, volumes and networks until the record that keeps them is there,
        # nobody may take them for unused.
        images_lock = Lock(host.layout.lock("images"), shared=True)
        volumes_lock = Lock(host.layout.lock("volumes"), shared=True)
        networks_lock = Lock(host.layout.lock("networks"), shared=True)
        with images_lock, volumes_lock, networks_lock:
            around = _surroundings(host, request, config, image, namespace, key, made)
            if joins or place.container_id:
                around = _share(host, around, joins, place.container_id)
            record = make_record(host, request, image, config, around, (key, driver))
            if joins or place.pod:
                record = _tell_others(host, record, request, place)
            write_bundle(host, request, config, around, record, is_single)
    except BaseException:
        _remove_volumes(host, made)
        raise
    return record


def _tell_others(
    host: Host, record: ContainerRecord, request: ContainerRequest, place: Place
) -> ContainerRecord:
    """Let the pod, and the containers whose namespaces it shares, know before it appears."""
    from rootless.container.joined import note_dependents

    if place.pod:
        from storage.pods import add_member

        add_member(host.layout, place.pod, record.id)
        record = record._replace(
            pod=place.pod, is_infra=place.is_infra, init_kind=request.init_ctr or ""
        )
    note_dependents(host, record)
    return record


def _joins(host: Host, request: ContainerRequest) -> tuple[ContainerRequest, dict[str, str]]:
    """Return the namespaces that are another's: kind -> container:ID or ns:PATH.

    Those that the other has of the host are asked for in the request.
    """
    texts = (request.pid, request.ipc, request.uts, request.userns, *request.network)
    if all(":" not in text for text in texts):
        return request, {}
    from rootless.container.joined import wanted_joins, with_the_hosts

    request = with_the_hosts(host, request)
    return request, wanted_joins(host, request)


def _share(
    host: Host, around: spec.Surroundings, joins: dict[str, str], container_id: str
) -> spec.Surroundings:
    """Note what a container gets along with the namespaces of another, and an id that it has."""
    from rootless.container.joined import shared_files

    if container_id:
        directory = host.layout.container(container_id).directory
        around = around._replace(container_id=container_id, directory=directory)
    etc, hostname = shared_files(host, joins)
    network = around.network
    if "network" in joins:
        network = spec.Network(joins["network"])
    return around._replace(joins=joins, etc=etc, hostname=hostname, network=network)


def _unpack(
    host: Host,
    request: ContainerRequest,
    found: tuple[ImageRecord, ImageConfig] | None,
    maps: "IdMaps",
    on_event: "OnEvent | None",
    why_not: str = "",
) -> tuple[ImageRecord, ImageConfig, str, str]:
    """Return the image, its configuration, the key of its layers, and a driver or "".

    `why_not` is a reason against mounting it.
    """
    if found is None:
        from rootless.container.single_file import prepare_file

        return prepare_file(host, request.image, maps, why_not)
    image, config = found
    key = map_key(maps.uids, maps.gids)
    if (host.layout.shared or image.store) and not images.is_unpacked(host, image, key):
        from rootless.container.single_file import prepare_image

        mounted = prepare_image(host, image, maps, why_not)
        if mounted is not None:
            image, key, driver = mounted
            return image, config, key, driver
    images.ensure_unpacked(host, image, maps, key, on_event)
    return image, config, key, request.rootfs_kind if request.rootfs_kind == "plain" else ""


def _is_file(text: str) -> bool:
    """Tell a file from the name of an image that ends like one."""
    return text.startswith(("/", "./", "../")) or os.path.exists(text)


def _remove_volumes(host: Host, names: list[str]) -> None:
    """Take back the anonymous volumes of a container that did not come to be."""
    from rootless.container.remove import remove_volume_data

    for name in names:
        remove_volume_data(host, name)


def _note_what_is_less(host: Host, request: ContainerRequest) -> None:
    wanted = request.oom_score_adj
    if wanted is not None and (given := clamp_oom_score(wanted)) != wanted:
        host.note(f"--oom-score-adj {wanted}: {given}, your own, is the least that you can give")


def _check(host: Host, request: ContainerRequest) -> None:
    """Find what cannot work before anything is done."""
    if request.name:
        check_name(request.name)
    if request.cidfile and os.path.exists(request.cidfile):
        raise UsageError(
            f"container id file {request.cidfile} exists",
            remedy="make sure the other container is not running, then remove the file",
        )
    log_options_of(request)
    if request.systemd not in ("true", "always", "false"):
        raise UsageError(f"--systemd={request.systemd}: use true, always or false")
    if request.root_emulation != "auto":
        from rootless.container.emulate import check_mode

        check_mode(request.root_emulation)
    _check_values(request)
    if request.secret:
        from rootless.container.secrets import parse_secrets

        with of_option("--secret"):
            parse_secrets(host, request.secret)
    if request.uidmap or request.gidmap:
        _choose_namespace(host, request)
    for name in request.requires:
        with of_option("--requires"):
            find_id(host.layout, name)
    if request.pidfile and not os.path.isdir(os.path.dirname(os.path.abspath(request.pidfile))):
        raise UsageError(f"--pidfile {request.pidfile}: the directory does not exist")
    if request.rm and restart_policy(request):
        raise UsageError(
            'the --rm option conflicts with --restart, when the restartPolicy is not "" and "no"',
            remedy="leave one of the two out",
        )


def _check_values(request: ContainerRequest) -> None:
    if request.timeout < 0:
        raise UsageError(f"--timeout {request.timeout}: must not be negative")
    if request.stop_timeout < -1:
        raise UsageError(
            f"--stop-timeout {request.stop_timeout}: must not be negative", remedy="-1 is for ever"
        )
    if request.hostname and request.uts != "private":
        raise UsageError(
            f"--hostname and --uts={request.uts} do not go together", remedy="leave one out"
        )


def _check_free(host: Host, name: str) -> None:
    owner = name_owner(host.layout, name)
    if owner is not None:
        from rootless.container.query import sweep_dead

        sweep_dead(host, owner)
        owner = name_owner(host.layout, name)
    if owner is not None:
        raise NameTaken(
            f'the container name "{name}" is already in use by {owner}.'
            " You have to remove that container to be able to reuse that name",
            remedy="remove it, use another name, or add --replace",
        )


def _remove_named(host: Host, name: str) -> None:
    from rootless.container.ending import remove

    if name_owner(host.layout, name) is not None:
        remove(host, name, force=True)


def _surroundings(
    host: Host,
    request: ContainerRequest,
    config: ImageConfig,
    image: ImageRecord,
    namespace: UserNamespace,
    key: str,
    made: list[str],
) -> spec.Surroundings:
    """Find out what config.json depends on; names of new anonymous volumes go to `made`."""
    container_id = new_id()
    inherited = []
    if request.volumes_from:
        from rootless.container.volumes_from import inherit

        with of_option("--volumes-from"):
            inherited = inherit(host, request.volumes_from)
    mounts = user_mounts.collect(request, config.volumes, working_directory(), inherited)
    with of_option("--network"):
        network = choose_network(host, request)
    layers = _layers(host, request, image, key)
    return spec.Surroundings(
        container_id=container_id,
        name=request.name or make_name(),
        directory=host.layout.container(container_id).directory,
        namespace=namespace,
        layers=layers,
        accounts=read_accounts(layers, layer_maps(namespace, host.id_maps())),
        network=network,
        sources=find_sources(host, mounts, made, namespace, key),
    )


def _layers(host: Host, request: ContainerRequest, image: ImageRecord, key: str) -> list[str]:
    """Return the unpacked layers, the top one first."""
    if request.rootfs:
        return [request.rootfs]
    return [host.layout.layer_diff(key, chain) for chain in reversed(image.chain_ids)]


def working_directory() -> str:
    """Return where relative sources of mounts begin; "" when the directory has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _give_name(host: Host, record: ContainerRecord, *, is_generated: bool) -> ContainerRecord:
    """Take the name; a made-up one that is taken is replaced by another."""
    prepared = f"{host.layout.container(record.id).directory}/{NAME_FILE}"
    while True:
        try:
            take_name(
                host.layout,
                record.name,
                record.id,
                sync=not record.auto_remove,
                prepared=prepared,
            )
        except FileNotFoundError as error:
            raise ContainerNotFound(
                f"container {record.id[:12]} was removed while it was made"
            ) from error
        except NameTaken:
            if not is_generated:
                from rootless.container.remove import remove_container

                remove_container(host, record)
                raise
            from storage.containers import write_record

            record = record._replace(name=make_name())
            write_record(host.layout.container(record.id), record, sync=not record.auto_remove)
            continue
        if record.cidfile:
            _write_cidfile(host, record)
        event_log.container_event(host.layout.run_root, "create", record=record)
        return record


def _write_cidfile(host: Host, record: ContainerRecord) -> None:
    from rootless.container.remove import remove_container

    try:
        write_new(record.cidfile, record.id.encode(), mode=0o644)
    except OSError as error:
        remove_container(host, record)
        raise UsageError(f"write --cidfile {record.cidfile}: {error.strerror}") from error
