"""Commands on containers that exist."""

import sys

from rootless.cli.commands.selection import (
    RUNNING,
    chosen_containers,
    exit_code,
    for_each,
    latest,
    one_container,
    removal_exit_code,
)
from rootless.errors import UsageError
from storage.errors import ContainerNotFound, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.containers import ContainerView


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _is_running(view: "ContainerView") -> bool:
    return view.status in RUNNING


def is_idle(view: "ContainerView") -> bool:
    return view.status not in RUNNING


def _is_removable(view: "ContainerView") -> bool:
    return not view.record.is_infra  # that goes with its pod


def _is_any(view: "ContainerView") -> bool:
    return True


def start(invocation: "Invocation") -> int:
    """Start containers; with --attach end with the exit code of the one."""
    from rootless.container import lifecycle

    host = invocation.host()
    names = chosen_containers(invocation, host, is_wanted=is_idle)
    interactive = invocation.flag("interactive")
    if invocation.flag("attach") or interactive:
        if len(names) != 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        sig_proxy = invocation.value("sig_proxy")
        return lifecycle.start(
            host,
            names[0],
            attach=True,
            interactive=interactive,
            sig_proxy=sig_proxy is not False,
            detach_keys=_detach_keys(invocation),
        )

    def start_one(name: str) -> None:
        lifecycle.start(host, name)
        _say(name)

    return exit_code(for_each(names, start_one))


def init(invocation: "Invocation") -> int:
    """Prepare containers, all but their commands."""
    from rootless.container.initialize import initialize

    host = invocation.host()

    def init_one(name: str) -> None:
        initialize(host, name)
        _say(name)

    return exit_code(for_each(chosen_containers(invocation, host, is_wanted=is_idle), init_one))


def _detach_keys(invocation: "Invocation") -> str:
    if "detach_keys" in invocation.given:
        return invocation.text("detach_keys")
    return invocation.host().config.detach_keys


def stop(invocation: "Invocation") -> int:
    """Stop containers."""
    from rootless.container import ending
    from storage.containers import find_container

    host = invocation.host()
    timeout_s = invocation.number("time")

    asked: dict[str, ending.Stopping] = {}

    def ask_one(name: str) -> None:
        try:
            asked[name] = ending.Stopping(find_container(host.layout, name), timeout_s)
        except ContainerNotFound:
            if not invocation.flag("ignore"):
                raise

    def finish_one(name: str) -> None:
        asked[name].finish(host)
        _say(name)

    names = chosen_containers(invocation, host, is_wanted=_is_running)
    errors = for_each(names, ask_one)
    # The grace times run side by side: the one that ends first is waited for first.
    ordered = sorted(asked, key=lambda name: asked[name].deadline_s)
    return exit_code(errors + for_each(ordered, finish_one))


def restart(invocation: "Invocation") -> int:
    """Stop containers that run, and start all."""
    from rootless.container import lifecycle

    host = invocation.host()
    timeout_s = invocation.number("time")
    only_running = invocation.flag("running")
    if only_running and not invocation.texts("containers"):
        from rootless.container.query import list_views

        names = [view.record.id for view in list_views(host)]
    else:
        names = chosen_containers(invocation, host, is_wanted=_is_any)

    def restart_one(name: str) -> None:
        lifecycle.restart(host, name, timeout_s=timeout_s)
        _say(name)

    return exit_code(for_each(names, restart_one))


def kill(invocation: "Invocation") -> int:
    """Send a signal to containers."""
    from rootless.container import ending

    host = invocation.host()
    signal_name = invocation.text("signal")

    def kill_one(name: str) -> None:
        ending.kill(host, name, signal_name)
        _say(name)

    names = chosen_containers(invocation, host, is_wanted=_is_running)
    return exit_code(for_each(names, kill_one))


def remove(invocation: "Invocation") -> int:
    """Remove containers."""
    from rootless.container import ending

    host = invocation.host()
    force = invocation.flag("force")

    def remove_one(name: str) -> None:
        try:
            if invocation.flag("depend"):
                from rootless.container.depending import dependents_of

                for container_id in dependents_of(host, name):
                    remove_one(container_id)
            ending.remove(
                host,
                name,
                force=force,
                volumes=invocation.flag("volumes"),
                timeout_s=invocation.number("time"),
            )
        except ContainerNotFound:
            if not force and not invocation.flag("ignore"):
                raise
            return
        _say(name)

    names = chosen_containers(invocation, host, is_wanted=_is_removable)
    if force and invocation.flag("all") and not invocation.texts("filter"):
        from rootless.container.query import damaged_ids

        names += damaged_ids(host)
    return removal_exit_code(for_each(names, remove_one))


def attach(invocation: "Invocation") -> int:
    """Attach to a running container and end with its exit code."""
    from rootless.container.attach import attach as attach_to

    host = invocation.host()
    return attach_to(
        host,
        one_container(invocation, "container", host),
        no_stdin=invocation.flag("no_stdin"),
        sig_proxy=invocation.flag("sig_proxy"),
        detach_keys=_detach_keys(invocation),
    )


def wait(invocation: "Invocation") -> int:
    """Wait for containers and print their exit codes."""
    from rootless.container import ending

    host = invocation.host()
    conditions = invocation.texts("condition") or ("stopped",)
    interval_s = _interval_s(invocation.text("interval"))

    def wait_one(name: str) -> None:
        try:
            code = ending.wait(host, name, conditions, interval_s)
        except ContainerNotFound:
            if not invocation.flag("ignore"):
                raise
            code = -1
        _say(str(code))

    names = chosen_containers(invocation, host, is_wanted=_is_any)
    if invocation.flag("exit_first_match") and len(names) > 1:
        _say(str(ending.wait_for_any(host, names, conditions, interval_s)))
        return 0
    return exit_code(for_each(names, wait_one))


def _interval_s(text: str) -> float:
    from rootless.container.moments import parse_duration

    seconds = int(text) / 1000 if text.isdecimal() and len(text) < 10 else parse_duration(text)
    if seconds is None or seconds <= 0:
        raise UsageError(f"--interval: {text!r} is no duration", remedy="say 250ms or 1s")
    return seconds


def healthcheck(invocation: "Invocation") -> int:
    """Check a container once; the exit code tells the result."""
    from rootless.container.health import run_check

    if run_check(invocation.host(), invocation.text("container")):
        return 0
    _say("unhealthy")
    return 1


def port(invocation: "Invocation") -> int:
    """List published ports, or the host's address for one of them."""
    from rootless.container.owner import network_owner
    from rootless.container.query import find_view, list_views

    host = invocation.host()
    words = list(invocation.texts("words"))
    if len(words) > 2 and words[0] in ("add", "rm"):
        return _change_ports(host, words)
    if invocation.flag("all"):
        if words:
            raise UsageError("--all and names of containers do not go together")
        for view in list_views(host):
            for inside, outside in _port_lines(network_owner(host, view)):
                _say(f"{view.record.id[:12]}\t{inside} -> {outside}")
        return 0
    name = latest(host) if invocation.flag("latest") else words.pop(0) if words else ""
    if not name:
        raise UsageError("you must supply a running container name or id")
    if len(words) > 1:
        raise UsageError("`port` takes a container and at most one port")
    lines = _port_lines(network_owner(host, find_view(host, name)))
    if not words:
        for inside, outside in lines:
            _say(f"{inside} -> {outside}")
        return 0
    wanted = words[0] if "/" in words[0] else f"{words[0]}/tcp"
    found = [outside for inside, outside in lines if inside == wanted]
    if not found:
        raise UsageError(f'failed to find published port "{words[0]}"')
    for outside in found:
        _say(outside)
    return 0


def _change_ports(host: "Host", words: list[str]) -> int:
    from rootless.container.publishing import change_port

    verb, name, *texts = words
    for text in texts:
        for mapping in change_port(host, name, verb, text):
            _say(f"{mapping.container_port}/{mapping.protocol} -> {mapping.host_text}")
    return 0


def _port_lines(view: "ContainerView") -> list[tuple[str, str]]:
    """Return (80/tcp, 0.0.0.0:8080) for each published port; its own when the start chose it."""
    lines = []
    for entry in view.state.ports or view.record.ports:
        address = str(entry.get("host_ip") or "0.0.0.0")  # noqa: S104 - it is only printed
        address = f"[{address}]" if ":" in address else address
        inside = f"{entry['container_port']}/{entry.get('protocol') or 'tcp'}"
        lines.append((inside, f"{address}:{entry['host_port']}"))
    return sorted(lines, key=lambda line: line[0])  # as text, as podman's


def logs(invocation: "Invocation") -> int:
    """Print what containers have written."""
    from rootless.container.logs import write_logs

    host = invocation.host()
    sys.stdout.flush()
    write_logs(
        host,
        chosen_containers(invocation, host, is_wanted=_is_any),
        follow=invocation.flag("follow"),
        tail=invocation.number("tail"),
        since=moment(invocation, "since"),
        until=moment(invocation, "until"),
        timestamps=invocation.flag("timestamps"),
        names=invocation.flag("names"),
        color=invocation.flag("color"),
    )
    return 0


def moment(invocation: "Invocation", name: str) -> float | None:
    """Return the time that an option gives. Raises UsageError."""
    import time

    from rootless.container.moments import parse_moment

    text = invocation.text(name)
    if not text:
        return None
    moment_s = parse_moment(text, time.time())
    if moment_s is None:
        raise UsageError(
            f"--{name}: {text!r} is no time",
            remedy="give a time like 2026-01-31T12:00:00, seconds since 1970, or 10m for the past",
        )
    return moment_s


def top(invocation: "Invocation") -> int:
    """Show the processes of a container."""
    from rootless.cli.output import format_table, write
    from rootless.container import lifecycle

    host = invocation.host()
    words = list(invocation.texts("words"))
    name = latest(host) if invocation.flag("latest") else words.pop(0) if words else ""
    if not name:
        raise UsageError("you must provide the name or id of a running container")
    from rootless.container.top import is_for_ps

    if words and is_for_ps(words):
        from rootless.container.top_ps import show

        return show(host, name, words)
    write(format_table(lifecycle.top(host, name, words)))
    return 0


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether a container exists."""
    from rootless.container.query import find_view

    try:
        find_view(invocation.host(), invocation.text("container"))
    except NotFound:
        return 1
    return 0


def prune(invocation: "Invocation") -> int:
    """Remove all containers that do not run."""
    from rootless.cli.output import confirm
    from rootless.container import ending
    from rootless.container.query import filter_views, list_views

    if not invocation.flag("force") and not confirm(
        "WARNING! This will remove all non running containers."
    ):
        return 0
    host = invocation.host()
    views = list_views(host, all_states=True)
    views = [view for view in views if is_idle(view) and _is_removable(view)]
    views = filter_views(views, invocation.texts("filter"))

    def remove_one(container_id: str) -> None:
        try:
            ending.remove(host, container_id, volumes=True)
        except ContainerNotFound:
            return  # somebody else was faster
        _say(container_id)

    return exit_code(for_each([view.record.id for view in views], remove_one))
