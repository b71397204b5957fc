"""Lists of containers and what is known of one, in docker's words."""

import time

from rootless.container.limits import signal_name
from rootless.container.query import filter_views, inspect_container, list_views
from rootless.human import ago_text, duration_text, parse_rfc3339, unix_time
from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from rootless.service.naming import container_of
from storage.containers import ContainerView
from storage.networks import DEFAULT_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from storage.oci.config import ImageConfig

# Filters that ask for containers which do not run, too.
_OF_ALL = ("status", "exited", "before", "since")
# What a container without a network of the user's has: docker's clients look for `bridge`.
_DEFAULTS = ("slirp4netns", "pasta")
_OURS = (
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
    "volume",
)  # fmt: skip


def list_(exchange: Exchange) -> None:
    host = exchange.host
    pairs = exchange.filters()
    limit = exchange.number("limit") or 0
    is_all = exchange.flag("all") or limit > 0 or any(key in _OF_ALL for key, _ in pairs)
    views = filtered(list_views(host, all_states=is_all), pairs)
    if limit > 0:
        views = views[:limit]
    sizes = {}
    if exchange.flag("size"):
        from rootless.container.sizes import container_sizes

        sizes = {key: tuple(size) for key, size in container_sizes(host, views).items()}
    now_s = time.time()
    entries = [_entry(host, view, now_s) for view in views]
    for entry in entries:
        if size := sizes.get(str(entry["Id"])):
            entry["SizeRw"], entry["SizeRootFs"] = size[0], size[0] + size[1]
    exchange.send(entries)


def filtered(views: list[ContainerView], pairs: list[tuple[str, str]]) -> list[ContainerView]:
    """Keep what passes docker's filters. Raises HttpError, UsageError."""
    ours = []
    for key, value in pairs:
        if key in _OURS:
            if key == "name":
                value = value.replace("^/", "^").removeprefix("/")
            ours.append(f"{key}={value}")
        elif key in ("publish", "expose"):
            views = [view for view in views if _has_port(view, key, value)]
        elif key == "is-task":
            views = [] if value.lower() in ("1", "true") else views
        elif key == "label!":
            ours.append(f"label!={value}")
        else:
            raise HttpError(400, f"invalid filter '{key}'")
    return filter_views(views, ours)


def _has_port(view: ContainerView, key: str, value: str) -> bool:
    numbers, _, protocol = value.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise HttpError(400, f"invalid filter '{key}={value}'")
    wanted = range(int(first), int(last or first) + 1)
    field = "host_port" if key == "publish" else "container_port"
    return any(
        int(str(entry.get(field) or 0)) in wanted and entry["protocol"] == (protocol or "tcp")
        for entry in view.state.ports or view.record.ports
    )


def state_word(view: ContainerView) -> str:
    """Return docker's word for the state: it has none for what podman calls initialized."""
    return {"initialized": "created", "stopping": "running"}.get(view.status, view.status)


def status_text(view: ContainerView, now_s: float) -> str:
    """Return docker's words: Up 3 minutes (healthy), Exited (137) 2 hours ago, Created."""
    if state_word(view) == "created":
        return "Created"
    if view.status == "exited":
        return f"Exited ({view.exit_code}) {ago_text(view.state.finished_at, now_s)}".rstrip()
    started_s = parse_rfc3339(view.state.started_at) or now_s
    text = f"Up {duration_text(max(0.0, now_s - started_s))}"
    if view.status == "paused":
        return f"{text} (Paused)"
    if view.record.health is not None:
        from rootless.container.health_state import health_status

        status = health_status(view)
        return f"{text} ({'health: starting' if status == 'starting' else status})"
    return text


def _entry(host: "Host", view: ContainerView, now_s: float) -> dict[str, object]:
    record = view.record
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.image_name,
        "ImageID": image_id(record.image_id),
        "Command": " ".join(record.command),
        "Created": unix_time(record.created_at),
        "Ports": _ports(view),
        "Labels": record.labels,
        "State": state_word(view),
        "Status": status_text(view, now_s),
        "HostConfig": {"NetworkMode": network_mode(view)},
        "NetworkSettings": {"Networks": _networks(host, view)},
        "Mounts": [mount_document(entry) for entry in record.mounts],
    }


def image_id(text: str) -> str:
    return f"sha256:{text}" if text else ""


def _ports(view: ContainerView) -> list[dict[str, object]]:
    entries = view.state.ports if view.pid else ()
    return [
        {
            "IP": str(entry.get("host_ip") or "0.0.0.0"),  # noqa: S104 - what docker writes
            "PrivatePort": int(str(entry["container_port"])),
            "PublicPort": int(str(entry["host_port"])),
            "Type": entry["protocol"],
        }
        for entry in entries
    ]


def network_mode(view: ContainerView) -> str:
    """Return what docker calls the mode: the network's name where there is one."""
    record = view.record
    if record.networks:
        return network_name(str(record.networks[0]["name"]))
    return "default" if record.network.partition(":")[0] in _DEFAULTS else record.network


def network_name(name: str) -> str:
    """Return docker's name for the network that every user has."""
    return "bridge" if name == DEFAULT_NAME else name


def _networks(host: "Host", view: ContainerView) -> dict[str, object]:
    if view.record.network == "bridge":
        from rootless.container.networks_document import network_settings

        found = network_settings(view, host)["Networks"]
        assert isinstance(found, dict)
        return {network_name(name): entry for name, entry in found.items()}
    return _default_networks(view, {})


def mount_document(entry: dict[str, object]) -> dict[str, object]:
    """Return a mount in docker's words."""
    kind = str(entry.get("Type", ""))
    options = entry.get("Options")
    words = [str(word) for word in options] if isinstance(options, list | tuple) else []
    return {
        "Type": kind,
        **({"Name": entry["Name"], "Driver": "local"} if kind == "volume" else {}),
        "Source": entry.get("Source", ""),
        "Destination": entry.get("Destination", ""),
        "Mode": ",".join(word for word in words if word in ("z", "Z")),
        "RW": entry.get("RW", True),
        "Propagation": entry.get("Propagation") or "",
    }


def inspect(exchange: Exchange) -> None:
    found = container_of(exchange)
    document = docker_document(exchange.host, found)
    if exchange.flag("size"):
        from rootless.container.sizes import container_sizes

        size = container_sizes(exchange.host, [found])[found.record.id]
        document |= {"SizeRw": size.written, "SizeRootFs": size.written + size.image}
    exchange.send(document)


def docker_document(host: "Host", found: ContainerView) -> dict[str, object]:
    """Return what `docker inspect` shows: podman's document with what docker has otherwise."""
    record = found.record
    document = inspect_container(found, host)
    state = _part(document, "State")
    if record.health is None:
        state.pop("Health", None)
    state.pop("Healthcheck", None)
    state["Status"] = state_word(found)
    config, host_config = _part(document, "Config"), _part(document, "HostConfig")
    config |= _command(host, found) | _image_parts(host, found)
    config["Labels"] = record.labels
    config["StopSignal"] = signal_name(record.stop_signal)
    host_config["NetworkMode"] = network_mode(found)
    host_config["LogConfig"] = {
        "Type": {"k8s-file": "json-file"}.get(record.log_driver, record.log_driver),
        "Config": {
            key.replace("_", "-"): value
            for key, value in record.log_options.items()
            if key != "path"
        },
    }
    policy = _part(host_config, "RestartPolicy")
    policy["Name"] = policy.get("Name") or "no"
    host_config["Ulimits"] = _asked_ulimits(found)
    host_config["PortBindings"] = _asked_ports(found)
    settings = _part(document, "NetworkSettings")
    bound = settings.get("Ports")
    for entries in bound.values() if isinstance(bound, dict) else ():
        for entry in entries:
            entry["HostIp"] = entry["HostIp"] or "0.0.0.0"  # noqa: S104 - what docker writes
    settings["Networks"] = (
        _networks(host, found) if record.networks else _default_networks(found, settings)
    )
    return {
        **document,
        "Name": f"/{record.name}",
        "Image": image_id(record.image_id),
        "LogPath": record.log_options.get("path") or found.paths.log,
        "Platform": "linux",
        "ExecIDs": None,
        "Config": config,
        "HostConfig": host_config,
        "Mounts": [mount_document(entry) for entry in record.mounts],
    }


def _part(raw: dict[str, object], key: str) -> dict[str, object]:
    value = raw.setdefault(key, {})
    assert isinstance(value, dict)
    return value


def _command(host: "Host", found: ContainerView) -> dict[str, object]:
    """Divide the command into entry point and arguments again."""
    from rootless.container.document import read_request
    from rootless.container.spec import parse_entrypoint

    words = list(found.record.command)
    request = read_request(found.record.request)
    if request.entrypoint is not None:
        entrypoint: tuple[str, ...] = tuple(parse_entrypoint(request.entrypoint))
    else:
        image = _image(host, found)
        entrypoint = (image.entrypoint or ()) if image is not None else ()
    if entrypoint and tuple(words[: len(entrypoint)]) == tuple(entrypoint):
        return {"Entrypoint": list(entrypoint), "Cmd": words[len(entrypoint) :] or None}
    return {"Entrypoint": None, "Cmd": words}


def _image_parts(host: "Host", found: ContainerView) -> dict[str, object]:
    """Return what of the configuration comes from the image, and from --expose and --publish."""
    from rootless.container.document import read_request

    image = _image(host, found)
    request = read_request(found.record.request)
    ports = [port if "/" in port else f"{port}/tcp" for port in request.expose]
    ports += [f"{e['container_port']}/{e['protocol']}" for e in found.record.ports]
    ports += image.exposed_ports if image is not None else ()
    volumes = image.volumes if image is not None else ()
    return {
        "ExposedPorts": {port: {} for port in ports} or None,
        "Volumes": {path: {} for path in volumes} or None,
    }


def _image(host: "Host", found: ContainerView) -> "ImageConfig | None":
    from storage.errors import StorageError
    from storage.images import find_image, image_config

    try:
        return image_config(host.layout, find_image(host.layout, found.record.image_id))
    except StorageError:
        return None  # it was removed by force, or there is none


def _asked_ulimits(found: ContainerView) -> list[dict[str, object]]:
    """Return what was asked for; podman's document has what the kernel was told."""
    from rootless.container.document import read_request

    result: list[dict[str, object]] = []
    for text in read_request(found.record.request).ulimit:
        name, _, values = text.partition("=")
        soft, _, hard = values.partition(":")
        if soft.lstrip("-").isdecimal():
            result.append({"Name": name, "Soft": int(soft), "Hard": int(hard or soft)})
    return result


def _asked_ports(found: ContainerView) -> dict[str, list[dict[str, str]]]:
    result: dict[str, list[dict[str, str]]] = {}
    for entry in found.record.ports:
        key = f"{entry['container_port']}/{entry['protocol']}"
        port = str(entry["host_port"] or "")
        result.setdefault(key, []).append({"HostIp": str(entry["host_ip"]), "HostPort": port})
    return result


def _default_networks(found: ContainerView, settings: dict[str, object]) -> dict[str, object]:
    """Return the network of a container that is in none of the user's."""
    keys = ("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress")
    kind = found.record.network.partition(":")[0]
    if kind in ("container", "ns"):
        return {}
    name = "bridge" if kind in _DEFAULTS else kind
    entry = {key: settings.get(key, 0 if key == "IPPrefixLen" else "") for key in keys}
    return {name: {**entry, "NetworkID": "", "Aliases": None, "Links": None}}
