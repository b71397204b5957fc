"""What a container is given: networks, ports, mounts, secrets and configs, as `run` takes them."""

import os
import socket

from rootless.compose.errors import ComposeError
from rootless.compose.parts import Part
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.project import Project


class Given(NamedTuple):
    """What is found out while containers are made.

    `owners` are the ids of the first container of services; `kept` anonymous volumes that a
    container takes over, by target; `contents` names of secrets in the store, by (kind, name).
    Without `aliases` it is not found by the service's names, without `ports` none is published,
    without `directories` none is made for a bind mount.
    """

    owners: dict[str, str]
    kept: dict[str, str]
    contents: dict[tuple[str, str], str]
    aliases: bool = True
    ports: bool = True
    directories: bool = True

    def container_of(self, service: str, where: str) -> str:
        if service not in self.owners:
            raise ComposeError(f"{where}: service {service!r} has no container")
        return self.owners[service]


def networks_of(
    project: "Project", service: str, fields: Part, where: str, given: Given
) -> dict[str, object]:
    """Return networks, aliases, addresses and published ports. Raises ComposeError."""
    values: dict[str, object] = {}
    wanted = sorted(
        fields.part("networks").each(), key=lambda one: -(one[1].number("priority") or 0)
    )
    texts = []
    names = [service, *_linked_as(project, service)]
    for position, (key, one) in enumerate(wanted):
        options = [f"alias={name}" for name in dict.fromkeys([*names, *one.texts("aliases")])]
        if not given.aliases:
            options = []
        mac = one.text("mac_address") or (fields.text("mac_address") if not position else "")
        for name, value in (
            ("ip", one.text("ipv4_address")),
            ("ip6", one.text("ipv6_address")),
            ("mac", mac),
            ("interface_name", one.text("interface_name")),
        ):
            if value:
                options.append(f"{name}={value}")
        if one.texts("link_local_ips"):
            raise ComposeError(
                f"{where}.networks.{key}.link_local_ips: the kernel gives addresses of a link"
            )
        text = project.networks[key].text("name")
        texts.append(f"{text}:{','.join(options)}" if options else text)
    if texts:
        values["network"] = tuple(texts)
    if given.ports:
        values["publish"] = tuple(_publish(one) for one in fields.parts("ports"))
    return values


def _linked_as(project: "Project", service: str) -> list[str]:
    """Return the names by which other services link to this one."""
    found = []
    for other in project.every().values():
        for text in other.texts("links"):
            name, colon, alias = text.partition(":")
            if name == service and colon:
                found.append(alias)
    return found


def _publish(port: Part) -> str:
    address = port.text("host_ip")
    before = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    published = port.text("published")
    if "-" in published:
        published = str(_free_port(address, published, port.text("protocol")))
    inside = f"{port.number('target')}/{port.text('protocol', 'tcp')}"
    if published in ("", "0"):
        return f"{before}:{inside}" if before else inside
    return f"{before}{published}:{inside}"


def _free_port(address: str, ports: str, protocol: str) -> int:
    """Return a port of a range that nobody listens on. Raises ComposeError."""
    first, _, last = ports.partition("-")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    for port in range(int(first), int(last) + 1):
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise ComposeError(f"ports: no port of {ports} is free")


def mounts_of(project: "Project", fields: Part, where: str, given: Given) -> dict[str, object]:
    """Return mounts, devices, secrets. Raises ComposeError."""
    volumes: list[str] = []
    mounts: list[str] = []
    tmpfs = list(fields.texts("tmpfs"))
    for one in fields.parts("volumes"):
        kind = one.text("type")
        if kind == "tmpfs":
            tmpfs.append(_tmpfs(one))
        elif kind == "bind":
            volumes.append(_bind(one, where, make=given.directories))
        elif kind == "image":
            mounts.append(_image(one))
        elif one.part("volume").text("subpath"):
            name = project.volumes[one.text("source")].text("name")
            subpath = one.part("volume").text("subpath")
            read_only = ",ro=true" if one.flag("read_only") else ""
            mounts.append(
                f"type=volume,source={name},target={one.text('target')},subpath={subpath}{read_only}"
            )
        else:
            volumes.append(_volume(project, one, given))
    for target, name in given.kept.items():
        if not any(target in text.split(":") for text in volumes):
            volumes.append(f"{name}:{target}")
    secrets, binds = _contents(project, fields, where, given)
    return {
        "volume": (*volumes, *binds),
        "mount": tuple(mounts),
        "tmpfs": tuple(tmpfs),
        "secret": secrets,
        "device": fields.texts("devices"),
        "volumes_from": tuple(
            _volumes_from(text, where, given) for text in fields.texts("volumes_from")
        ),
    }


def _bind(one: Part, where: str, *, make: bool) -> str:
    source, bind = one.text("source"), one.part("bind")
    if ":" in source:
        raise ComposeError(f"{where}.volumes: a path with a colon cannot be mounted: {source}")
    if make and not os.path.lexists(source) and bind.flag("create_host_path", default=True):
        try:
            os.makedirs(source, exist_ok=True)
        except OSError as error:
            raise ComposeError(
                f"{where}.volumes: make {source}, which is not there: {error.strerror}"
            ) from error
    options = ["ro" if one.flag("read_only") else "rw"]
    options += [bind.text(key) for key in ("propagation", "selinux") if key in bind]
    return f"{source}:{one.text('target')}:{','.join(options)}"


def _volume(project: "Project", one: Part, given: Given) -> str:
    target = one.text("target")
    options = ["ro"] if one.flag("read_only") else []
    if one.part("volume").flag("nocopy"):
        options.append("nocopy")
    if "source" not in one:
        kept = given.kept.get(target)
        return f"{kept}:{target}" if kept else target
    name = project.volumes[one.text("source")].text("name")
    return ":".join([name, target, *([",".join(options)] if options else [])])


def _tmpfs(one: Part) -> str:
    details = one.part("tmpfs")
    options = [f"size={details.text('size')}"] if "size" in details else []
    if (mode := details.number("mode")) is not None:
        options.append(f"mode={mode:o}")
    if one.flag("read_only"):
        options.append("ro")
    return one.text("target") + (f":{','.join(options)}" if options else "")


def _image(one: Part) -> str:
    text = f"type=image,source={one.text('source')},target={one.text('target')}"
    subpath = one.part("image").text("subpath")
    return f"{text},subpath={subpath}" if subpath else text


def _volumes_from(text: str, where: str, given: Given) -> str:
    """Return what `--volumes-from` takes: SERVICE[:ro], or container:NAME[:ro]."""
    if text.startswith("container:"):
        return text.partition(":")[2]
    service, colon, mode = text.partition(":")
    return given.container_of(service, f"{where}.volumes_from") + (f":{mode}" if colon else "")


def _contents(
    project: "Project", fields: Part, where: str, given: Given
) -> tuple[tuple[str, ...], list[str]]:
    """Return secrets and configs: copies out of the store of secrets, and binds of directories."""
    texts: list[str] = []
    binds: list[str] = []
    for kind, defined in (("secrets", project.secrets), ("configs", project.configs)):
        for one in fields.parts(kind):
            source = one.text("source")
            target = one.text("target") or (source if kind == "secrets" else f"/{source}")
            path = defined[source].text("file")
            if path and os.path.isdir(path):
                place = target if target.startswith("/") else f"/run/secrets/{target}"
                binds.append(f"{path}:{place}:ro")
                continue
            options = [given.contents[kind, source], f"target={target}"]
            options += [f"{key}={one.text(key)}" for key in ("uid", "gid") if key in one]
            mode = one.number("mode")
            if mode is not None:
                options.append(f"mode={mode:o}")
            texts.append(",".join(options))
    return tuple(texts), binds
