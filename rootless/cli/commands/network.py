"""Commands on user-defined networks."""

import sys

from rootless.cli.commands.looks import look_at_network, show_documents
from rootless.cli.commands.selection import exit_code, for_each, latest, removal_exit_code
from rootless.cli.output import Row, Table, print_formatted, split_filters, write
from rootless.container import networks
from rootless.errors import UsageError
from rootless.filters import matches_label, passes
from storage.errors import InUse, NetworkNotFound
from storage.networks import find_network, list_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.networks import NetworkRecord

_FILTERS = ("name", "id", "driver", "label", "label!", "dangling", "until")
_PRUNE_FILTERS = ("until", "label", "label!")
FIELDS = (
    "Created", "CreatedAt", "DNSEnabled", "Driver", "ID", "IPAMOptions", "IPv6Enabled", "Internal",
    "Labels", "Name", "NetworkInterface", "Options", "Subnets",
)  # fmt: skip
_HEADINGS = {"ID": "NETWORK ID"}
_SHORT_ID = 12


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def create(invocation: "Invocation") -> int:
    """Make a network and print its name."""
    request = networks.NetworkRequest()
    fields = request._fields
    wanted = networks.NetworkRequest._make(
        invocation.given.get(field, default) for field, default in zip(fields, request, strict=True)
    )
    _say(networks.create_network(invocation.host(), wanted).name)
    return 0


def list_(invocation: "Invocation") -> int:
    """List networks."""
    host = invocation.host()
    pairs = split_filters(invocation.texts("filter"), _FILTERS, "network")
    users = networks.network_users(host) if any(key == "dangling" for key, _ in pairs) else {}
    records = [r for r in list_networks(host.layout) if _passes(r, pairs, users)]
    text = invocation.text("format")
    full = invocation.flag("no_trunc")
    if invocation.flag("quiet"):
        write("".join(f"{record.name}\n" for record in records))
    elif not text or text == "table":
        Table(("NETWORK ID", False), ("NAME", False), ("DRIVER", False)).print(
            [(r.id if full else r.id[:_SHORT_ID], r.name, "bridge") for r in records],
            noheading=invocation.flag("noheading"),
            full=True,
        )
    else:
        rows = [_row(record, networks.make_document(host, record), full=full) for record in records]
        print_formatted(
            rows,
            text,
            headings=_HEADINGS,
            valid=FIELDS,
            noheading=invocation.flag("noheading"),
        )
    return 0


def _row(record: "NetworkRecord", document: dict[str, object], *, full: bool) -> Row:
    fields = {
        "ID": record.id if full else record.id[:_SHORT_ID],
        "Name": record.name,
        "Driver": "bridge",
        "NetworkInterface": record.interface,
        "Created": record.created_at,
        "CreatedAt": record.created_at,
        "Subnets": document["subnets"],
        "IPv6Enabled": record.ipv6,
        "Internal": record.internal,
        "DNSEnabled": record.dns,
        "Labels": ",".join(f"{key}={value}" for key, value in record.labels.items()),
        "Options": record.options,
        "IPAMOptions": document["ipam_options"],
    }
    return Row(fields, document)


def _passes(
    record: "NetworkRecord", filters: list[tuple[str, str]], users: dict[str, list[str]]
) -> bool:
    return passes(filters, lambda key, value: _test(record, key, value, users))


def _test(record: "NetworkRecord", key: str, value: str, users: dict[str, list[str]]) -> bool:
    import time

    from rootless.container.moments import parse_moment
    from rootless.human import parse_rfc3339

    match key:
        case "name":
            return value in record.name
        case "id":
            return record.id.startswith(value)
        case "label":
            return matches_label(record.labels, value)
        case "label!":
            return not matches_label(record.labels, value)
        case "dangling":
            return (value == "true") == (record.name not in users and not record.is_default)
        case "until":
            moment_s = parse_moment(value, time.time())
            if moment_s is None:
                raise UsageError(f"network filter until: {value!r} is no time")
            return (parse_rfc3339(record.created_at) or 0.0) < moment_s
        case _:
            return value == "bridge"


def inspect(invocation: "Invocation") -> int:
    """Show networks."""
    return show_documents(
        invocation.host(), invocation.texts("names"), look_at_network, invocation.text("format")
    )


def remove(invocation: "Invocation") -> int:
    """Remove networks; with --force the containers in them first."""
    host = invocation.host()
    force = invocation.flag("force")
    time_s = invocation.number("time")

    def remove_one(text: str) -> None:
        try:
            networks.remove(host, text, force=force, timeout_s=time_s)
        except NetworkNotFound:
            if not force:
                raise
            return
        _say(text)

    return removal_exit_code(for_each(invocation.texts("names"), remove_one))


def prune(invocation: "Invocation") -> int:
    """Remove networks that no container uses."""
    from rootless.cli.output import confirm

    pairs = split_filters(invocation.texts("filter"), _PRUNE_FILTERS, "prune")
    if not invocation.flag("force") and not confirm(
        "WARNING! This will remove all networks not used by at least one container."
    ):
        return 0
    gone, errors = prune_networks(invocation.host(), pairs)
    for name in gone:
        _say(name)
    return exit_code(errors)


def prune_networks(
    host: "Host", filters: list[tuple[str, str]]
) -> tuple[list[str], list[Exception]]:
    """Remove networks that no container uses; return their names, and what failed."""
    users = networks.network_users(host)
    chosen = [
        record.name
        for record in list_networks(host.layout)
        if record.name not in users and not record.is_default and _passes(record, filters, users)
    ]
    gone: list[str] = []

    def remove_one(name: str) -> None:
        try:
            gone.append(networks.remove(host, name))
        except (NetworkNotFound, InUse):
            # Another command was faster, or began to use it just now.
            return

    return gone, for_each(chosen, remove_one)


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether a network exists."""
    try:
        find_network(invocation.host().layout, invocation.text("name"))
    except NetworkNotFound:
        return 1
    return 0


def update(invocation: "Invocation") -> int:
    """Change the servers that a network's DNS asks."""
    add, drop = invocation.texts("dns_add"), invocation.texts("dns_drop")
    if not add and not drop:
        raise UsageError("nothing to change", remedy="give --dns-add or --dns-drop")
    networks.update_dns(invocation.host(), invocation.text("name"), add=add, drop=drop)
    return 0


def connect(invocation: "Invocation") -> int:
    """Put a container into a further network."""
    from rootless.container.networks_live import connect as connect_container

    connect_container(
        invocation.host(),
        invocation.text("network"),
        invocation.text("container"),
        aliases=invocation.texts("alias"),
        ip=invocation.text("ip"),
        ip6=invocation.text("ip6"),
        mac=invocation.text("mac_address"),
    )
    return 0


def disconnect(invocation: "Invocation") -> int:
    """Take a container out of a network."""
    from rootless.container.networks_live import disconnect as disconnect_container

    disconnect_container(
        invocation.host(),
        invocation.text("network"),
        invocation.text("container"),
        force=invocation.flag("force"),
    )
    return 0


def reload(invocation: "Invocation") -> int:
    """Set the networks of running containers up again, and print their ids."""
    from rootless.container.networks_live import reload as reload_container
    from rootless.container.query import list_views

    host = invocation.host()
    names = list(invocation.texts("containers"))
    if invocation.flag("all"):
        if names:
            raise UsageError("--all and names of containers do not go together")
        names = [found.record.id for found in list_views(host) if found.record.networks]
    elif invocation.flag("latest"):
        if names:
            raise UsageError("--latest and names of containers do not go together")
        names = [latest(host)]
    elif not names:
        raise UsageError("you must provide at least one name or id")

    def reload_one(name: str) -> None:
        _say(reload_container(host, name))

    return exit_code(for_each(names, reload_one))
