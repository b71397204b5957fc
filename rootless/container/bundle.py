"""Write the bundle of a container: config.json, its record, the files that rpod puts below /etc.

It is built aside and appears under its final name in one step.
"""

import os

from rootless import images
from rootless.container import spec
from rootless.container.accounts import account_files
from rootless.container.idmap import UserNamespace, layer_maps, storage_maps
from rootless.container.request import ContainerRequest, asked_limits
from rootless.errors import UsageError
from rootless.host.paths import Host
from rootless.sandbox.drivers import COPY
from storage import lightjson as json
from storage.containers import ContainerRecord
from storage.errors import from_os_error
from storage.files import read_file
from storage.oci.config import ImageConfig
from storage.scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.container.users import User

# Some programs read these files as another user than root, whatever the caller's umask is.
_ETC_MODE = 0o644
_SECCOMP_LIMIT_BYTES = 1 << 20
# In a bundle until its container has its name: the file that gives it.
NAME_FILE = "name"


def write_bundle(
    host: Host,
    request: ContainerRequest,
    config: ImageConfig,
    around: spec.Surroundings,
    record: ContainerRecord,
    is_single: bool,
) -> None:
    """Write the bundle aside, then let it appear under its final name."""
    user = spec.find_user(request, config, around)
    _chown_mounts(host, around, user)
    with Scratch(host.layout, "container") as scratch:
        bundle = f"{scratch.path}/bundle"
        try:
            for directory in ("", "/rootfs", "/upper", "/work", "/etc"):
                os.mkdir(bundle + directory, 0o711)
            os.chmod(f"{bundle}/upper", top_mode(around.layers))
            if record.is_infra and not record.image_id:
                from rootless.container.pause import write_pause

                write_pause(f"{bundle}/rootfs")
            elif record.driver == COPY:
                _copy_layers(host, around.namespace, record, bundle)
            accounts = account_files(user, around, host.user_name, request)
            if around.namespace.emulation == "bpf":
                from rootless.container import emulate

                accounts[emulate.APT_FILE] = emulate.APT_SETTINGS
            for name, data in accounts.items():
                write_new(f"{bundle}/etc/{name}", data, mode=_ETC_MODE)
            runtime_config = spec.make_config(request, config, user, around)
            bind_accounts(runtime_config, around.directory, accounts)
            if (
                request.gpus
                or request.inject
                or host.config.inject
                or any("=" in text for text in request.device)
            ):
                from rootless.container.injection import inject

                inject(host, request, around.layers, runtime_config)
            trees = [source.tree for source in around.sources if source.tree is not None]
            if trees:
                from rootless.container.overlay_mounts import make_places

                make_places(trees, bundle)
            if request.secret:
                _place_secrets(host, request, around, runtime_config, bundle)
            check_limits(host, request, runtime_config)
            copy_seccomp(runtime_config, bundle)
            write_etc(host, request, record, runtime_config, bundle)
            records = {
                "config.json": json.dumps(runtime_config).encode(),
                "container.json": json.dumps(record.to_json()).encode(),
                NAME_FILE: record.id.encode(),
            }
            _write_records(bundle, records, sync=not request.rm)
            if around.namespace.mode != "host" and not is_single and not request.as_caller:
                _give_to_container_root(host, around.namespace, bundle)
            images.check_present(host, record)
            os.rename(bundle, around.directory)
        except OSError as error:
            raise from_os_error(f"make container {around.directory}", error) from error


def _chown_mounts(host: Host, around: spec.Surroundings, user: "User") -> None:
    for source in around.sources:
        if source.mount.chown:
            from rootless.container.chowning import give_to_user

            maps = storage_maps(around.namespace, host.id_maps())
            give_to_user(source.path, user, maps, host.environ.get("HOME", "/"))


def _place_secrets(
    host: Host,
    request: ContainerRequest,
    around: spec.Surroundings,
    runtime_config: dict[str, object],
    bundle: str,
) -> None:
    from rootless.container import secrets

    mounts = runtime_config["mounts"]
    assert isinstance(mounts, list)
    wanted = secrets.parse_secrets(host, request.secret)
    maps = around.namespace.maps
    unpack_maps = storage_maps(around.namespace, host.id_maps())
    mounts += secrets.place(wanted, host, maps, unpack_maps, bundle, around.directory)


def top_mode(layers: list[str]) -> int:
    """The container's / has the mode of the upper directory, so it must be the image's."""
    return os.stat(layers[0]).st_mode & 0o7777 if layers else 0o755


def _copy_layers(
    host: Host, namespace: UserNamespace, record: ContainerRecord, bundle: str
) -> None:
    """Where nothing can be laid over the layers a container has files of its own."""
    from rootless.linux.userns import run_in_userns
    from storage.flatten import flatten

    run_in_userns(
        lambda _: flatten(host.layout, record.map_key, record.chain_ids, f"{bundle}/rootfs"),
        layer_maps(namespace, host.id_maps()),
    )
    write_new(os.path.join(bundle, "work", "copied"), b"")  # storage.layout, ContainerPaths.copied


def _give_to_container_root(host: Host, namespace: UserNamespace, bundle: str) -> None:
    """The caller is not uid 0 of this namespace: the writable layer goes to whom 0 stands for."""
    from rootless.linux.userns import run_in_userns

    def give(_: object) -> None:
        for name in ("upper", "work", "rootfs"):
            os.chown(f"{bundle}/{name}", 0, 0)

    run_in_userns(give, layer_maps(namespace, host.id_maps()))


def _write_records(directory: str, records: dict[str, bytes], *, sync: bool) -> None:
    """Write files; with `sync` they are on disk after it, with one commit of the file system.

    For that the disk gets the data of all of them before the first is waited for.
    """
    fds = []
    try:
        for name, data in records.items():
            fd = os.open(
                f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            fds.append(fd)
            os.write(fd, data)
            if sync:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # starts writing
        if sync:
            for fd in fds:
                os.fdatasync(fd)
    finally:
        for fd in fds:
            os.close(fd)


def write_new(path: str, data: bytes, *, mode: int = 0o600) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    if mode != _ETC_MODE:
        return
    os.chmod(path, mode)  # whatever the caller's umask


def bind_accounts(
    runtime_config: dict[str, object], directory: str, names: "Iterable[str]"
) -> None:
    """Let the container see the account files of its bundle."""
    mounts = runtime_config["mounts"]
    assert isinstance(mounts, list)
    options = ["bind", "rprivate", "nosuid", "nodev"]
    for name in names:
        source = f"{directory}/etc/{name}"
        mounts.append(
            {"destination": f"/etc/{name}", "type": "bind", "source": source, "options": options}
        )


def check_limits(host: Host, request: ContainerRequest, runtime_config: dict[str, object]) -> None:
    """What cannot be enforced is said now, with the container not made."""
    manager = host.environ.get("RPOD_CGROUP_MANAGER", "")
    asked = asked_limits(request)
    if not asked and not manager:
        return
    from rootless.container.cgroup_limits import prepare

    if manager:
        annotations = runtime_config["annotations"]
        assert isinstance(annotations, dict)
        annotations["dev.rpod.cgroup-manager"] = manager
    prepare(host, runtime_config, asked, request.limits)


def copy_seccomp(runtime_config: dict[str, object], bundle: str) -> None:
    """A profile is the container's from now on, whatever happens to the user's file."""
    annotations = runtime_config["annotations"]
    assert isinstance(annotations, dict)
    path = annotations["dev.rpod.seccomp"]
    if path in ("default", "unconfined"):
        return
    from rootless.container.rootfs import seccomp_filter

    try:
        data = read_file(path, limit_bytes=_SECCOMP_LIMIT_BYTES)
        json.loads(data)
    except OSError as error:
        raise UsageError(f"--security-opt seccomp={path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f"--security-opt seccomp={path}: not JSON: {error}",
            remedy="use an OCI or docker seccomp profile, or seccomp=unconfined",
        ) from error
    write_new(f"{bundle}/seccomp.json", data)
    # What is wrong with it is said now, not at every start.
    seccomp_filter(runtime_config, bundle)


def write_etc(
    host: Host,
    request: ContainerRequest,
    record: ContainerRecord,
    runtime_config: dict[str, object],
    bundle: str,
) -> None:
    """Write the files of /etc and /run that rpod makes into the bundle."""
    from rootless.container.etc import check_network_files, containerenv, hostname_of

    check_network_files(request)
    hostname = hostname_of(runtime_config)
    files = {
        "hostname": f"{hostname}\n",
        ".containerenv": containerenv(record),
        "hosts": "",
        "resolv.conf": "",
    }
    data = {name: os.fsencode(text) for name, text in files.items()}
    if request.tz:
        from rootless.container.timezone import read_zone

        data["localtime"] = read_zone(request.tz)
    for name, _ in spec.generated_files(request):
        write_new(f"{bundle}/etc/{name}", data[name], mode=_ETC_MODE)
