"""What services share: networks, volumes, and the contents of secrets and configs.

Each is looked for by its name, and made with the project's labels when it is not there.
"""

import hashlib
import json
import os

from rootless.compose import identity
from rootless.compose.errors import ComposeError
from rootless.compose.parts import Part
from rootless.container import networks
from storage import networks as stored_networks
from storage import secrets as stored_secrets
from storage import volumes as stored_volumes
from storage.errors import NetworkNotFound, SecretNotFound, VolumeNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.host.paths import Host

# storage.secrets: names end with a letter or digit.
_NAME_LETTERS, _DIGEST_DIGITS = 64, 16
_OWN_DRIVERS = ("", "bridge", "default")


def make_networks(host: "Host", project: "Project", tell: "Tell") -> None:
    """Make the networks that the services use. Raises ComposeError, InvalidNetwork."""
    for key in project.used_networks():
        wanted = project.networks[key]
        name = wanted.text("name")
        try:
            found = stored_networks.find_network(host.layout, name)
        except NetworkNotFound:
            found = None
        if found is not None and found.name == name:
            _check_owner(project, "network", name, found.labels, wanted)
            _check_same(host, "network", name, found.labels, wanted)
            continue
        tell("Network", name, "Creating")
        labels = {**wanted.words("labels"), **identity.project_labels(project.name)}
        labels[identity.HASH] = _hash(wanted)
        networks.create_network(host, _network_request(key, wanted, labels))
        tell("Network", name, "Created")


def _network_request(key: str, wanted: Part, labels: dict[str, str]) -> networks.NetworkRequest:
    driver = wanted.text("driver")
    if driver in ("host", "none"):
        raise ComposeError(
            f"networks.{key}: driver {driver!r} makes no network", remedy=f"network_mode: {driver}"
        )
    if driver == "overlay":
        raise ComposeError(f"networks.{key}: driver 'overlay' spans the hosts of a swarm")
    pools = wanted.part("ipam").parts("config")
    labels = {**labels, identity.NETWORK: key}
    return networks.NetworkRequest(
        name=wanted.text("name"),
        driver="bridge" if driver in _OWN_DRIVERS else driver,
        subnet=tuple(pool.text("subnet") for pool in pools if "subnet" in pool),
        gateway=tuple(pool.text("gateway") for pool in pools if "gateway" in pool),
        ip_range=tuple(pool.text("ip_range") for pool in pools if "ip_range" in pool),
        ipv6=wanted.flag("enable_ipv6"),
        internal=wanted.flag("internal"),
        label=tuple(f"{name}={value}" for name, value in labels.items()),
        opt=tuple(f"{name}={value}" for name, value in wanted.words("driver_opts").items()),
        ignore=True,
    )


def _check_owner(
    project: "Project", kind: str, name: str, labels: dict[str, str], wanted: Part
) -> None:
    """Say when something of this name was made by somebody else."""
    if wanted.flag("external") or labels.get(identity.PROJECT) == project.name:
        return
    raise ComposeError(
        f"{kind} {name} was found but is not one of project {project.name!r}",
        remedy="declare it as external to use it, or give it another name",
    )


def _hash(wanted: Part) -> str:
    """Return the hash of what a network or volume is made with."""
    return hashlib.sha256(json.dumps(wanted.raw, sort_keys=True).encode()).hexdigest()


def _check_same(host: "Host", kind: str, name: str, labels: dict[str, str], wanted: Part) -> None:
    """Tell when something is there that the file describes otherwise by now: it stays."""
    if not wanted.flag("external") and labels.get(identity.HASH, _hash(wanted)) != _hash(wanted):
        how = "rpod compose down --volumes" if kind == "volume" else "rpod compose down"
        host.note(f"{kind} {name} was made with other settings and stays as it is until: {how}")


def check_external(host: "Host", project: "Project") -> None:
    """Raises ComposeError when something is not there that others should have made."""
    for key in project.used_networks():
        name = project.networks[key].text("name")
        if not project.networks[key].flag("external"):
            continue
        try:
            stored_networks.find_network(host.layout, name)
        except NetworkNotFound as error:
            raise ComposeError(
                f"network {name} declared as external, but could not be found",
                remedy=f"make it first: rpod network create {name}",
            ) from error
    for key in project.used_volumes():
        name = project.volumes[key].text("name")
        if not project.volumes[key].flag("external"):
            continue
        try:
            stored_volumes.read_volume(host.layout, name)
        except VolumeNotFound as error:
            raise ComposeError(
                f"external volume {name!r} not found",
                remedy=f"make it first: rpod volume create {name}",
            ) from error


def make_volumes(host: "Host", project: "Project", tell: "Tell") -> None:
    """Make the volumes that the services use. Raises ComposeError, StorageError."""
    for key in project.used_volumes():
        wanted = project.volumes[key]
        name = wanted.text("name")
        try:
            found = stored_volumes.read_volume(host.layout, name)
        except VolumeNotFound:
            found = None
        if found is not None:
            if not wanted.flag("external") and identity.PROJECT not in found.labels:
                host.note(f"volume {name} was not made by compose; it is used as it is")
            _check_same(host, "volume", name, found.labels, wanted)
            continue
        if wanted.text("driver") not in ("", "local"):
            raise ComposeError(f"volumes.{key}: there is no driver but local")
        tell("Volume", f'"{name}"', "Creating")
        labels = {**wanted.words("labels"), **identity.project_labels(project.name)}
        labels |= {identity.VOLUME: key, identity.HASH: _hash(wanted)}
        options = wanted.words("driver_opts")
        stored_volumes.create_volume(
            host.layout, name, labels=labels, options=options, exist_ok=True
        )
        tell("Volume", f'"{name}"', "Created")


def keep_contents(
    host: "Host", project: "Project", services: "list[str]"
) -> dict[tuple[str, str], str]:
    """Put the secrets and configs of services into the store; return their names there.

    A container copies them when it is made. Raises ComposeError, StorageError.
    """
    found: dict[tuple[str, str], str] = {}
    for kind, defined in (("secrets", project.secrets), ("configs", project.configs)):
        for service in services:
            for one in project.every()[service].parts(kind):
                key = one.text("source")
                if (kind, key) not in found and not os.path.isdir(defined[key].text("file")):
                    found[kind, key] = _keep(host, project, kind, key, defined[key])
    return found


def _keep(host: "Host", project: "Project", kind: str, key: str, defined: Part) -> str:
    if defined.flag("external"):
        name = defined.text("name")
        try:
            return stored_secrets.find_secret(host.layout, name).name
        except SecretNotFound as error:
            raise ComposeError(
                f"external {kind[:-1]} {name!r} not found",
                remedy=f"make it first: rpod secret create {name} FILE",
            ) from error
    data = content_of(project, kind, key, defined)
    name = f"{project.name}_{kind}_{key}"
    if len(name) > _NAME_LETTERS or not name[-1].isalnum():
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]
        name = f"{name[: _NAME_LETTERS - _DIGEST_DIGITS - 1]}-{digest}"
    labels = {**identity.project_labels(project.name), identity.CONTENT: f"{kind}.{key}"}
    try:
        record = stored_secrets.find_secret(host.layout, name)
        if stored_secrets.secret_data(host.layout, record) == data:
            return name
    except SecretNotFound:
        pass
    stored_secrets.create_secret(host.layout, name, data, labels=labels, replace=True)
    return name


def content_of(project: "Project", kind: str, key: str, defined: Part) -> bytes:
    """Return what a secret or config says. Raises ComposeError."""
    where = f"{kind}.{key}"
    if path := defined.text("file"):
        try:
            with open(path, "rb") as file:
                data = file.read(stored_secrets.LIMIT_BYTES)
        except OSError as error:
            raise ComposeError(f"{where}: read {path}: {str(error.strerror).lower()}") from error
    elif "content" in defined:
        data = defined.text("content").encode()
    elif name := defined.text("environment"):
        if name not in project.variables:
            raise ComposeError(
                f'{where}: environment variable "{name}" required by {kind[:-1]} "{key}" is not set'
            )
        data = project.variables[name].encode()
    else:
        raise ComposeError(f"{where}: one of file, environment or external must be set")
    if not 0 < len(data) < stored_secrets.LIMIT_BYTES:
        raise ComposeError(
            f"{where}: it must have at least one byte and less than {stored_secrets.LIMIT_BYTES}"
        )
    return data


def forget_contents(host: "Host", project: str) -> None:
    """Remove what `keep_contents` has put into the store."""
    for record in stored_secrets.list_secrets(host.layout):
        if record.labels.get(identity.PROJECT) == project:
            stored_secrets.remove_secret(host.layout, record)


def project_networks(host: "Host", project: str) -> list[str]:
    """Return the names of the networks that a project has made."""
    records = stored_networks.list_networks(host.layout)
    return sorted(r.name for r in records if r.labels.get(identity.PROJECT) == project)


def project_volumes(host: "Host", project: str) -> list[str]:
    """Return the names of the volumes that a project has made."""
    records = stored_volumes.list_volumes(host.layout)
    return sorted(r.name for r in records if r.labels.get(identity.PROJECT) == project)
