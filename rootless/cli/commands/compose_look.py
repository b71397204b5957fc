"""compose port, top, stats, events, volumes, wait, cp: look at what a project has."""

import select

from rootless.cli.commands.compose_run import find_one
from rootless.cli.compose_session import Session, run
from rootless.cli.output import Row, Table, format_table, print_formatted, write
from rootless.compose import identity, resources, teardown
from rootless.compose.errors import ComposeError
from rootless.compose.identity import Member, members
from rootless.container import ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.copy import End

_VOLUMES = Table(("DRIVER", False), ("VOLUME NAME", False))
VOLUME_FIELDS = ("Driver", "Labels", "Mountpoint", "Name")


def _services(session: Session) -> tuple[str, tuple[str, ...]]:
    """Return the project's name, and the services that the command line names."""
    name, project = session.named()
    services = session.invocation.texts("names")
    if project is not None:
        project.chosen(services, dependencies=False)
    return name, services


def _found(session: Session, *, all_states: bool) -> list[Member]:
    name, services = _services(session)
    return [
        one
        for one in members(session.host, name)
        if (one.service in services or not services) and (all_states or one.is_running)
    ]


def port(invocation: "Invocation") -> int:
    """Print where a port is published."""
    return run(invocation, _port)


def _port(session: Session) -> int:
    invocation = session.invocation
    text, protocol = invocation.text("port"), invocation.text("protocol")
    if not text.isdecimal() or not 0 < int(text[:6]) < 65536:
        raise ComposeError(f"{text!r} is no port")
    one = find_one(session)
    for entry in one.view.state.ports or one.view.record.ports:
        if entry["container_port"] == int(text) and (entry.get("protocol") or "tcp") == protocol:
            address = str(entry.get("host_ip") or "0.0.0.0")  # noqa: S104 - it is only printed
            shown = f"[{address}]" if ":" in address else address
            write(f"{shown}:{entry['host_port']}\n")
            return 0
    raise ComposeError(f"no port {text}/{protocol} for container {one.name}")


def top(invocation: "Invocation") -> int:
    """Show processes."""
    return run(invocation, _top)


def _top(session: Session) -> int:
    from rootless.container import lifecycle

    for one in _found(session, all_states=False):
        write(f"{one.name}\n")
        write(format_table(lifecycle.top(session.host, one.id, [])) + "\n")
    return 0


def stats(invocation: "Invocation") -> int:
    """Show what containers use."""
    return run(invocation, _stats)


def _stats(session: Session) -> int:
    from rootless.cli.commands.limits import show_stats

    invocation = session.invocation
    kept = ("format", "no_stream", "no_trunc")
    given = {key: value for key, value in invocation.given.items() if key in kept}
    every = invocation.flag("all")
    return show_stats(
        invocation.like("stats", {"interval": 1, **given}),
        session.host,
        lambda: [("", one.view) for one in _found(session, all_states=every)],
    )


def events(invocation: "Invocation") -> int:
    """Show what happens to containers."""
    return run(invocation, _events)


def _events(session: Session) -> int:
    from rootless.cli.commands.events import events as show

    invocation = session.invocation
    name, services = _services(session)
    filters = ["type=container", f"label={identity.PROJECT}={name}"]
    if len(services) > 1:
        raise ComposeError("events: name one service, or none for all")
    filters += [f"label={identity.SERVICE}={service}" for service in services]
    given: dict[str, object] = {"filter": tuple(filters)}
    given |= {key: invocation.given[key] for key in ("since", "until") if key in invocation.given}
    if invocation.flag("json"):
        given["format"] = "json"
    return show(invocation.like("events", given))


def volumes(invocation: "Invocation") -> int:
    """List volumes."""
    return run(invocation, _volumes)


def _volumes(session: Session) -> int:
    from storage.volumes import mountpoint, read_volume

    invocation = session.invocation
    name, services = _services(session)
    names = resources.project_volumes(session.host, name)
    if services:
        used = {
            str(mount.get("Name"))
            for one in members(session.host, name)
            if one.service in services
            for mount in one.view.record.mounts
        }
        names = [one for one in names if one in used]
    form = invocation.text("format")
    if invocation.flag("quiet"):
        write("".join(f"{one}\n" for one in names))
    elif form in ("", "table"):
        _VOLUMES.print([("local", one) for one in names], noheading=False, full=True)
    else:
        rows = []
        for one in names:
            record = read_volume(session.host.layout, one)
            fields: dict[str, object] = {
                "Driver": "local",
                "Labels": ",".join(f"{k}={v}" for k, v in sorted(record.labels.items())),
                "Mountpoint": mountpoint(session.host.layout, record),
                "Name": one,
            }
            rows.append(Row(fields, fields))
        form = "jsonl" if form == "json" else form
        print_formatted(rows, form, headings={}, valid=VOLUME_FIELDS)
    return 0


def wait(invocation: "Invocation") -> int:
    """Wait for the first container that ends; its exit code is the command's."""
    return run(invocation, _wait)


def _wait(session: Session) -> int:
    name, _ = _services(session)
    found = _found(session, all_states=True)
    if not found:
        raise ComposeError("no containers for project " + name)
    ended = [one for one in found if one.view.status == "exited"]
    if not ended:
        _wait_for_any(found)
        ended = [one for one in _found(session, all_states=True) if one.view.status == "exited"]
    code = ending.wait(session.host, (ended or found)[0].id)
    write(f"{code}\n")
    if session.invocation.flag("down_project"):
        teardown.down(
            session.host, name, session.project, teardown.DownOptions(), session.tell
        )  # fmt: skip
    return code


def _wait_for_any(found: list[Member]) -> None:
    """Wait until the first process of one of the containers ends."""
    import os

    poll = select.poll()
    fds = []
    try:
        for one in found:
            try:
                fds.append(os.pidfd_open(one.view.pid)) if one.view.pid else None
            except ProcessLookupError:
                return
        for fd in fds:
            poll.register(fd, select.POLLIN)
        if fds:
            poll.poll()
    finally:
        for fd in fds:
            os.close(fd)


def copy(invocation: "Invocation") -> int:
    """Copy files."""
    return run(invocation, _copy)


def _copy(session: Session) -> int:
    from rootless.container import copy as copying

    invocation = session.invocation
    sources = _ends(session, invocation.text("source"))
    targets = _ends(session, invocation.text("target"))
    if bool(sources[0].container) == bool(targets[0].container):
        raise ComposeError("copying is between a service and the host: SERVICE:PATH on one side")
    archive = invocation.flag("archive")
    if targets[0].container:
        for target in targets:
            copying.copy(session.host, sources[0], target, archive=archive)
        return 0
    copying.copy(session.host, sources[0], targets[0], archive=archive)
    return 0


def _ends(session: Session, text: str) -> "list[End]":
    """Read [SERVICE:]PATH: an end in each container of the service, or one on the host."""
    from rootless.container.copy import End

    service, colon, path = text.partition(":")
    if not colon or "/" in service or text.startswith((".", "/")):
        return [End("", text)]
    invocation = session.invocation
    index = invocation.number("index")
    name, project = session.named()
    if project is not None and service not in project.every():
        raise ComposeError(f"no such service: {service}")
    oneoff = None if invocation.flag("all") else False
    found = [
        one
        for one in members(session.host, name, oneoff=oneoff)
        if one.service == service and index in (None, one.number)
    ]
    if not found:
        raise ComposeError(f"no container found for service {service!r}")
    return [End(one.id, path) for one in found]
