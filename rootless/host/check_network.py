"""Checks of a container's connection: helpers are started for real, in a namespace of their own."""

import os

from rootless.errors import RootlessError
from rootless.host import probe
from rootless.host.check import FAIL, OK, WARN, Check
from rootless.host.identity import single_id
from rootless.host.paths import Host
from rootless.host.programs import find_program, install_command, read_text, run_program
from slirp.errors import SlirpError
from slirp.model import SlirpOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from slirp.process import Running

_LOW_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_NO_NETWORK = "only --network=host and --network=none"


def check_tun(_host: Host) -> Check:
    """Open /dev/net/tun, which slirp4netns and pasta need."""
    problem = probe.open_device(probe.TUN)
    if not problem:
        return Check("tun", probe.TUN, OK, "can be opened")
    return Check(
        "tun",
        probe.TUN,
        FAIL,
        problem,
        chosen=_NO_NETWORK,
        cause=problem,
        fix=probe.tun_remedy(problem),
    )


def check_slirp4netns(host: Host) -> Check:
    """Start slirp4netns in a new network namespace and look for its route."""
    from slirp import slirp4netns

    title = "slirp4netns"
    path = find_program("slirp4netns", host.environ)
    if path is None:
        return Check(
            "slirp4netns",
            title,
            FAIL if find_program("pasta", host.environ) is None else WARN,
            "not installed",
            chosen="pasta" if find_program("pasta", host.environ) else _NO_NETWORK,
            cause="slirp4netns gives a container its own network",
            fix=install_command("slirp4netns"),
        )
    problem, remedy = _try_helper(host, lambda pid: slirp4netns.start(pid, SlirpOptions()))
    version = program_version(path)
    if problem:
        return Check(
            "slirp4netns", title, FAIL, version, chosen=_NO_NETWORK, cause=problem, fix=remedy
        )
    return Check("slirp4netns", title, OK, f"{version}, started", chosen="default network")


def check_pasta(host: Host) -> Check:
    """Start pasta, where installed, in a new network namespace."""
    from slirp import pasta

    title = "pasta"
    path = find_program("pasta", host.environ)
    if path is None:
        return Check("pasta", title, OK, "not installed; only for --network=pasta")
    problem, remedy = _try_helper(host, pasta.start)
    if problem:
        return Check("pasta", title, WARN, path, cause=problem, fix=remedy)
    return Check("pasta", title, OK, f"{path}, started", chosen="with --network=pasta")


def _try_helper(host: Host, start: "Callable[[int], Running]") -> tuple[str, str]:
    """Return why the helper does not give a route, and the remedy; two empty strings if it does."""
    from rootless.linux import syscalls
    from rootless.linux.userns import run_in_userns

    reader, writer = os.pipe2(os.O_CLOEXEC)
    problem: list[str] = []

    def inside(emit: "Callable[[object], None]") -> object:
        os.close(writer)
        syscalls.unshare(syscalls.CLONE_NEWNET)
        emit(os.getpid())
        os.read(reader, 1)
        return read_text("/proc/self/net/route") + read_text("/proc/self/net/ipv6_route")

    def outside(pid: object) -> None:
        try:
            running.append(start(int(str(pid))))
            running[0].wait_ready(5.0)
        except SlirpError as error:
            problem[:] = [error.message, error.remedy]
        os.write(writer, b"x")

    running: list[Running] = []
    try:
        routes = run_in_userns(inside, single_id(host.uid, host.gid), on_event=outside)
    except RootlessError as error:
        return error.message, error.remedy
    finally:
        os.close(reader)
        os.close(writer)
        for helper in running:
            helper.stop()
    if problem:
        return problem[0], problem[1]
    lines = [line.split() for line in str(routes).splitlines()]
    if any(fields[1:2] == ["00000000"] or fields[0] == "0" * 32 for fields in lines):
        return "", ""
    return "it started, but there is no default route in the namespace", "connect this host"


def check_dns(_host: Host) -> Check:
    """Name servers that a container can use."""
    from slirp.resolv import host_resolv_conf, parse_resolv_conf
    from slirp.resolv_watch import RESOLV_CONF

    servers = parse_resolv_conf(host_resolv_conf()).servers
    if servers:
        return Check("dns", "name servers", OK, ", ".join(servers))
    return Check(
        "dns",
        "name servers",
        WARN,
        "none",
        cause=f"{RESOLV_CONF} names no server",
        fix="give --dns ADDRESS to run, or correct the file",
    )


def check_low_ports(_host: Host) -> Check:
    """From which port on a regular user may listen."""
    lowest = read_text(_LOW_PORTS).strip() or "1024"
    if lowest.isdecimal() and int(lowest) <= 80:
        return Check("low-ports", "published ports", OK, f"from {lowest} on")
    return Check(
        "low-ports",
        "published ports",
        OK,
        f"from {lowest} on",
        chosen="lower ones are refused",
        fix="for port 80: sudo sysctl net.ipv4.ip_unprivileged_port_start=80",
    )


def program_version(path: str) -> str:
    """Return the first line of `--version`, the path when there is none."""
    try:
        lines = run_program([path, "--version"], timeout_s=3.0).stdout.splitlines()
    except RootlessError:
        return path
    return lines[0] if lines else path
