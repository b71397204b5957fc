"""From a request and an image to the OCI runtime configuration of a container.

Everything is decided here, before any process is made: what is written to config.json is what the
sandbox executes, at the first start and at every later one.
"""

import os

from rootless.container import mounts as user_mounts
from rootless.container.environment import caller_environment, make_environment
from rootless.container.idmap import UserNamespace
from rootless.container.limits import clamp_oom_score, make_rlimits
from rootless.container.merged import Accounts
from rootless.container.request import DEFAULT_PIDS, ContainerRequest, asked_limits
from rootless.container.security import masked_and_readonly, parse_security_options
from rootless.container.users import KEEP_GROUPS, User, check_mapped, resolve_user
from rootless.errors import UsageError, of_option
from rootless.linux.userns import to_host
from rootless.sandbox import capabilities, defaults
from storage import lightjson as json
from storage.oci.config import ImageConfig
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.overlay_mounts import Tree

OCI_VERSION = "1.0.2"
_SHORT_ID = 12
_HOSTNAME_BYTES = 64
# What a machine executes by itself, by uname(2) and GOARCH.
_NATIVE = {"x86_64": ("amd64", "386"), "aarch64": ("arm64", "arm")}


class Network(NamedTuple):
    """What config.json needs to know of the network."""

    mode: str
    attachments: tuple[dict[str, object], ...] = ()

    @property
    def is_host(self) -> bool:
        return self.mode == "host"


class Source(NamedTuple):
    """A user's mount with the place on the host that it shows; `name` for volumes.

    `tree` is what one shows that is more than a bind mount.
    """

    mount: user_mounts.UserMount
    path: str
    name: str
    tree: "Tree | None" = None


class Surroundings(NamedTuple):
    """What has been found out about one container before its config.json is made."""

    container_id: str
    name: str
    directory: str
    namespace: UserNamespace
    layers: list[str]
    accounts: Accounts
    network: Network
    sources: list[Source]
    # Kind of namespace -> whose it is, container:ID or ns:PATH; what comes with that: the
    # directory with the owner's files for /etc, and the owner's host name.
    joins: dict[str, str] = {}  # noqa: RUF012 - never changed
    etc: str = ""
    hostname: str = ""


def container_command(request: ContainerRequest, image: ImageConfig) -> list[str]:
    """Return the argument list: entry point, then command.

    `--entrypoint` replaces the image's entry point and drops its command. Raises UsageError.
    """
    if request.entrypoint is None:
        entrypoint = [] if image.entrypoint == ("",) else list(image.entrypoint or ())
        command = list(request.command or image.cmd or ())
    else:
        entrypoint = parse_entrypoint(request.entrypoint)
        command = list(request.command)
    result = entrypoint + command
    if not result:
        raise UsageError(
            "no command or entrypoint provided, and no CMD or ENTRYPOINT from image",
            remedy="give a command after the image's name",
        )
    return result


def parse_entrypoint(text: str) -> list[str]:
    """Return the words of `--entrypoint`: a program, or a JSON array."""
    if text.startswith("["):
        try:
            value = json.loads(text)
        except ValueError:
            return [text]
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return value
    return [text] if text else []


def wanted_user(
    request: ContainerRequest, image: ImageConfig, namespace: UserNamespace, accounts: Accounts
) -> User:
    """Resolve `--user`, else who keep-id says, else the image's user.

    Raises UnknownUser, UsageError.
    """
    text = request.user if request.user is not None else image.user
    if request.user is None and namespace.mode == "keep-id":
        text = f"{namespace.own_uid}:{namespace.own_gid}"
    if request.group_add:
        with of_option("--group-add"):
            resolve_user("", accounts.passwd, accounts.group, request.group_add)
    with of_option("USER" if request.user is None else "--user"):
        return resolve_user(text, accounts.passwd, accounts.group, request.group_add)


def find_user(request: ContainerRequest, image: ImageConfig, around: Surroundings) -> User:
    """Return the user of the process, whose ids the namespace maps.

    Raises UnknownUser, UsageError.
    """
    namespace = around.namespace
    user = wanted_user(request, image, namespace, around.accounts)
    if request.as_caller:
        from rootless.host.paths import home_directory

        home = home_directory(os.getuid(), caller_environment())
        user = user._replace(home=home or user.home)
    return check_mapped(user, namespace.maps)


def make_config(
    request: ContainerRequest, image: ImageConfig, user: User, around: Surroundings
) -> dict[str, object]:
    """Return config.json: OCI runtime-spec, config. Raises UsageError."""
    security = parse_security_options(request)
    hostname = _check_hostname(request.hostname or around.container_id[:_SHORT_ID])
    if request.uts == "host" or (around.network.is_host and request.hostname is None):
        hostname = os.uname().nodename
    if "uts" in around.joins and around.hostname:
        hostname = around.hostname
    masked, readonly = masked_and_readonly(security, host_network=around.network.is_host)
    config: dict[str, object] = {
        "ociVersion": OCI_VERSION,
        "process": _process(request, image, user, around, hostname, security.no_new_privileges),
        "root": {"path": "rootfs", "readonly": request.read_only},
        "hostname": hostname,
        "mounts": _mounts(request, image, around, security.proc_options),
        "annotations": _annotations(request, image, around, security.seccomp),
        "linux": {
            "uidMappings": _mappings(around.namespace.maps.uids),
            "gidMappings": _mappings(around.namespace.maps.gids),
            "namespaces": [{"type": name} for name in _namespaces(request, around)],
            "maskedPaths": masked,
            "readonlyPaths": readonly,
            "devices": _devices(request),
            "sysctl": _sysctls(request, around),
            "resources": _resources(request),
        },
    }
    if request.uts == "host":
        del config["hostname"]
    return config


def _check_hostname(name: str) -> str:
    """Refuse what would break /etc/hosts or what the kernel refuses (sethostname(2): 64 bytes)."""
    if len(os.fsencode(name)) > _HOSTNAME_BYTES:
        raise UsageError(f"--hostname {name}: longer than {_HOSTNAME_BYTES} bytes")
    if not name.isprintable() or " " in name:
        raise UsageError(
            f"--hostname {name!r}: blanks and control characters are not possible",
            remedy="use letters, digits, - and .",
        )
    return name


def _process(
    request: ContainerRequest,
    image: ImageConfig,
    user: User,
    around: Surroundings,
    hostname: str,
    no_new_privileges: bool,
) -> dict[str, object]:
    if request.cap_drop:
        with of_option("--cap-drop"):
            capabilities.resolve((), request.cap_drop, request.privileged)
    with of_option("--cap-add"):
        names = capabilities.resolve(request.cap_add, request.cap_drop, request.privileged)
    sets = capabilities.sets_for_user(names, request.cap_add, uid=user.uid)
    with of_option("--env"):
        environment = make_environment(
            request, image.env, caller_environment(), home=user.home, hostname=hostname
        )
    if around.namespace.emulation == "bpf":
        environment.setdefault("APT_CONFIG", "/etc/rpod-apt.conf")
    if runs_systemd(request, image):
        # systemd.io, CONTAINER_INTERFACE: what becomes its machine-id.
        environment.setdefault("container_uuid", around.container_id[:32])
    if request.workdir is not None and not request.workdir.startswith("/"):
        raise UsageError(f'--workdir: the directory "{request.workdir}" is not an absolute path')
    process: dict[str, object] = {
        "terminal": request.tty,
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "additionalGids": list(dict.fromkeys((user.gid, *user.groups))),
            "umask": _umask(request.umask),
        },
        "args": container_command(request, image),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": request.workdir or image.working_dir or defaults.WORKING_DIRECTORY,
        "capabilities": {name: list(value) for name, value in sets._asdict().items()},
        "rlimits": make_rlimits(request.ulimit),
        "noNewPrivileges": no_new_privileges,
    }
    if request.oom_score_adj is not None:
        process["oomScoreAdj"] = clamp_oom_score(request.oom_score_adj)
    return process


def _umask(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise UsageError(
            f'--umask: invalid umask "{text}"', remedy="use an octal number such as 0022"
        )
    return value


def _namespaces(request: ContainerRequest, around: Surroundings) -> list[str]:
    kinds = ["user", "mount"]
    for kind, value in (
        ("pid", request.pid),
        ("ipc", request.ipc),
        ("uts", request.uts),
        ("cgroup", request.cgroupns),
    ):
        if value not in ("private", "host", "", "shareable") and kind not in around.joins:
            raise UsageError(
                f"--{'cgroupns' if kind == 'cgroup' else kind}={value}: unknown namespace",
                remedy="use private, host, container:NAME or ns:PATH",
            )
        if value != "host":
            kinds.append(kind)
    if not around.network.is_host:
        kinds.append("network")
    return kinds


def _mappings(ranges: tuple[tuple[int, int, int], ...]) -> list[dict[str, int]]:
    return [
        {"containerID": inside, "hostID": outside, "size": count}
        for inside, outside, count in ranges
    ]


def runs_systemd(request: ContainerRequest, image: ImageConfig) -> bool:
    """Whether the first process is systemd, or --systemd=always says so."""
    if request.systemd not in ("true", "always") or (request.init and request.systemd == "true"):
        return False
    first = container_command(request, image)[0]
    return (
        request.systemd == "always"
        or first.rpartition("/")[2] == "systemd"
        or first in ("/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init")
    )


def _mounts(
    request: ContainerRequest,
    image: ImageConfig,
    around: Surroundings,
    proc_options: tuple[str, ...],
) -> list[dict[str, object]]:
    tty_group = to_host(around.namespace.maps.gids, defaults.TTY_GROUP) is not None
    entries = [
        mount.to_json()
        for mount in defaults.mounts(
            host_network=around.network.is_host,
            host_pid=request.pid == "host",
            host_ipc=request.ipc == "host",
            privileged=request.privileged,
            shm_size_bytes=request.shm_size,
            tty_group_mapped=tty_group,
        )
    ]
    taken = {source.mount.target for source in around.sources}
    kept = [entry for entry in entries if entry["destination"] not in taken]
    for entry in kept:
        if entry["type"] == "proc" and proc_options:
            entry["options"] = list(proc_options)
    options = ["bind", "rprivate", "nosuid", "nodev"]
    if request.read_only:
        options += ["ro", "noexec"]
    for name, target in generated_files(request):
        if target not in taken:
            path = f"{around.directory}/etc/{name}"
            if around.etc and name in NETWORK_FILES:
                path = f"{around.etc}/{name}"
            kept.append({"destination": target, "type": "bind", "source": path, "options": options})
    kept += [_entry(source, around.directory) for source in around.sources]
    if runs_systemd(request, image):
        from rootless.container.systemd_inside import prepare_mounts

        owns_cgroup = request.cgroups != "disabled" and request.cgroupns != "host"
        kept = prepare_mounts(kept, taken, owns_cgroup=owns_cgroup)
    # What lies below comes later: a volume on /etc does not hide the name servers.
    return sorted(kept, key=lambda entry: str(entry["destination"]).count("/"))


# Belong to the network namespace: who shares it shows the files of its owner.
NETWORK_FILES = ("hosts", "resolv.conf")


def _entry(source: Source, directory: str) -> dict[str, object]:
    if source.tree is None:
        return user_mounts.to_json(source.mount, source.path)
    from rootless.container.overlay_mounts import to_entry

    return to_entry(source.mount, source.tree, directory)


def generated_files(request: ContainerRequest) -> list[tuple[str, str]]:
    """Return (name in the bundle's etc/, path in the container) of the files that rpod makes."""
    files = [("hostname", "/etc/hostname"), (".containerenv", "/run/.containerenv")]
    if not request.no_hosts:
        files.append(("hosts", "/etc/hosts"))
    if tuple(request.dns) != ("none",):
        files.append(("resolv.conf", "/etc/resolv.conf"))
    if request.tz:
        files.append(("localtime", "/etc/localtime"))
    return files


def _annotations(
    request: ContainerRequest, image: ImageConfig, around: Surroundings, seccomp: str
) -> dict[str, str]:
    result = _own_annotations(request)
    result["dev.rpod.seccomp"] = seccomp
    result["dev.rpod.keyring"] = around.container_id
    if around.joins:
        result[defaults.JOINED] = ",".join({**around.joins, "user": ""})
    result["dev.rpod.default-sysctls"] = ",".join(defaults.NETWORK_SYSCTLS)
    if around.namespace.emulation:
        result["dev.rpod.root-emulation"] = around.namespace.emulation
    if request.join:
        result["dev.rpod.join"] = request.join
    if request.init:
        result["dev.rpod.init"] = "true"
    if KEEP_GROUPS in request.group_add:
        if len(request.group_add) > 1:
            raise UsageError("the '--group-add keep-groups' option is not allowed with any other")
        result[defaults.KEEP_GROUPS] = "1"
    if runs_systemd(request, image):
        result["dev.rpod.systemd"] = "true"
    if request.cgroup_parent:
        result["dev.rpod.cgroup-parent"] = request.cgroup_parent
    if request.cgroups != "enabled":
        result["dev.rpod.cgroups"] = request.cgroups.replace("conmon", "monitor")
    native = _NATIVE.get(os.uname().machine, ())
    if image.architecture and native and image.architecture not in native:
        result["dev.rpod.architecture"] = image.architecture
    if image.stop_signal:
        result["org.opencontainers.image.stopSignal"] = image.stop_signal
    return result


def _own_annotations(request: ContainerRequest) -> dict[str, str]:
    result: dict[str, str] = {}
    for text in request.annotation:
        name, separator, value = text.partition("=")
        if not name or not separator or name.startswith("dev.rpod."):
            raise UsageError(f'--annotation: invalid annotation "{text}"', remedy="use NAME=VALUE")
        result[name] = value
    return result


def _devices(request: ContainerRequest) -> list[dict[str, object]]:
    if not request.device and not request.privileged:
        return []
    from rootless.sandbox.devices import is_cdi_name, parse_device, privileged_devices

    entries = [device.to_json() for text in request.device if not is_cdi_name(text)
               for device in parse_device(text)]  # fmt: skip
    if request.privileged:
        entries += [device.to_json() for device in privileged_devices()]
    return entries


def _resources(request: ContainerRequest) -> dict[str, object]:
    if asked_limits(request):
        from rootless.container.resources import make_resources

        return make_resources(request)
    return {"pids": {"limit": DEFAULT_PIDS}}


def _sysctls(request: ContainerRequest, around: Surroundings) -> dict[str, str]:
    is_shared = around.network.is_host or "network" in around.joins
    result = {} if is_shared else dict(defaults.NETWORK_SYSCTLS)
    for text in request.sysctl:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f'--sysctl: invalid sysctl "{text}"', remedy="use --sysctl NAME=VALUE")
        name = name.replace("/", ".")
        allowed = (
            (name.startswith("net.") and not around.network.is_host)
            or (name.startswith(("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm"))
                and request.ipc != "host")
            or (name in ("kernel.domainname", "kernel.hostname") and request.uts != "host")
        )  # fmt: skip
        if not allowed:
            raise UsageError(
                f"--sysctl {name}: it belongs to the host, not to a namespace of the container",
                remedy="only net.*, fs.mqueue.* and kernel.{msg,sem,shm}* of own namespaces can"
                " be set",
            )
        result[name] = value
    return result
