"""slirp4netns: a network for a namespace without any privilege (slirp4netns(1)).

It is started as soon as the container's user namespace has its id maps, beside the mounts, and
says through a descriptor when the interface is up; before the command is executed the monitor
waits for that and publishes the ports through the API socket.
"""

import _socket
import os

from slirp.errors import HelperFailed
from slirp.model import PortMapping, SlirpOptions
from slirp.ports import check_host_port
from slirp.process import Namespaces, Pipes, Running, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from slirp.forward_target import Target

# Ours (RFC 4193), as slirp4netns gives the container an IPv6 address late, or none.
_ADDRESS6 = "fd72:706f:6400::100"
_ANSWER_LIMIT_BYTES = 1 << 20
_API_TIMEOUT_S = 10.0
_CAP_SYS_ADMIN = 21
_IPV6_ROUTES = "/proc/net/ipv6_route"
_ANY = "0.0.0.0"  # noqa: S104 - what --publish means without an address


def start(
    pid: int,
    options: SlirpOptions,
    *,
    ports: "Sequence[PortMapping]" = (),
    api_socket: str | None = None,
    interface: str = "tap0",
    namespaces: Namespaces | None = None,
) -> Running:
    """Start slirp4netns for the network namespace of `pid`; call `wait_ready` before its exec.

    `ports` have their host ports; they need `api_socket`, a path of any length that is not there.
    `namespaces` are given when the caller's id is not root of them; they stay open until ready.
    Raises HelperMissing, HelperFailed.
    """
    _check_ports(ports)
    if ports and api_socket is None:
        raise HelperFailed("start slirp4netns: published ports need an API socket")
    # A socket's path has at most 107 bytes (unix(7)), a container's run directory is longer.
    directory = _open_parent(api_socket) if api_socket is not None else -1
    pipes = Pipes("slirp4netns")
    arguments = _arguments(options)
    is_inner = os.geteuid() == 0 and not _has_admin()
    if namespaces is None and not is_inner:
        # Otherwise it lacks the ids for it: its sandbox wants to be gid 0 where it is another. And
        # it takes every uid 0 for one that needs no user namespace, root of a container, too.
        arguments.append("--enable-sandbox")
    arguments += [f"--ready-fd={pipes.ready_write}", f"--exit-fd={pipes.exit_read}"]
    inherit = [pipes.ready_write, pipes.exit_read, *(namespaces or ())]
    if api_socket is not None:
        inherit.append(directory)
        arguments.append(f"--api-socket=/proc/self/fd/{directory}/{os.path.basename(api_socket)}")
    try:
        target = _target(pid, namespaces, by_path=is_inner)
        helper = spawn([*arguments, *target, interface], pipes, inherit=inherit)
    finally:
        if directory >= 0:
            os.close(directory)

    def publish() -> None:
        for mapping in ports:
            add_port(api_socket or "", mapping)

    return Running(
        "slirp4netns",
        helper,
        exit_fd=pipes.exit_write,
        ready_fd=pipes.ready_read,
        log=pipes.log,
        explain=_explain,
        on_ready=publish,
    )


def _arguments(options: SlirpOptions) -> list[str]:
    arguments = [
        "slirp4netns",
        "--configure",
        f"--mtu={options.mtu}",
        f"--cidr={options.cidr}",
        "--enable-seccomp",
    ]
    if not options.allow_host_loopback:
        arguments.append("--disable-host-loopback")
    if wants_ipv6(options):
        arguments.append("--enable-ipv6")
    if options.outbound_addr:
        arguments.append(f"--outbound-addr={options.outbound_addr}")
    if options.outbound_addr6:
        arguments.append(f"--outbound-addr6={options.outbound_addr6}")
    return arguments


def notes(options: SlirpOptions, ports: "Sequence[PortMapping]") -> tuple[str, ...]:
    """Return what the user should know about these ports, one line each."""
    if options.port_handler != "slirp4netns" or options.allow_host_loopback:
        return ()
    if not any(port.protocol == "udp" for port in ports):
        return ()
    return (
        "port_handler=slirp4netns: published UDP ports answer clients of other "
        "machines only, not of this host's loopback: "
        "leave port_handler out for those",
    )


def forward_target(options: SlirpOptions) -> "Target":
    """Return the container's addresses, for the forwarder of published ports."""
    from slirp.forward_target import Target

    return Target(options.address, options.gateway, lazy6=_ADDRESS6)


def _target(pid: int, namespaces: Namespaces | None, *, by_path: bool) -> tuple[str, ...]:
    if namespaces is not None:
        user, net = namespaces.paths()
    elif by_path:
        user, net = (f"/proc/{pid}/ns/{kind}" for kind in ("user", "net"))
    else:
        return (str(pid),)
    return ("--netns-type=path", f"--userns-path={user}", net)


def _has_admin() -> bool:
    """Whether CAP_SYS_ADMIN is effective, capabilities(7)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        words = file.read().split("CapEff:", 1)[1].split()
    return bool(int(words[0], 16) >> _CAP_SYS_ADMIN & 1)


def wants_ipv6(options: SlirpOptions, *, routes: str = _IPV6_ROUTES) -> bool:
    """Return what was asked for, else whether this host has an IPv6 default route."""
    if options.enable_ipv6 is not None:
        return options.enable_ipv6
    if options.outbound_addr6:
        return True
    try:
        with open(routes, encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    # proc(5): destination, prefix length, ..., device; the kernel's own unreachable route is on lo.
    nowhere = "0" * 32
    return any(
        fields[0] == nowhere and fields[1] == "00" and fields[-1] != "lo"
        for fields in map(str.split, lines)
        if fields
    )


def _check_ports(ports: "Sequence[PortMapping]") -> None:
    for mapping in ports:
        if ":" in mapping.host_ip:
            raise HelperFailed(
                f"publish {mapping.host_text}: slirp4netns listens on IPv4 addresses only",
                remedy="leave the address out, use an IPv4 address, or --network=pasta",
            )


def _open_parent(path: str) -> int:
    parent = os.path.dirname(path)
    try:
        return os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HelperFailed(f"open {parent} for the socket: {error.strerror}") from error


def _explain(log: str) -> HelperFailed:
    # Not each of its complaints ends with a line feed.
    lines = [
        line
        for line in log.replace("WARNING: ", "\nWARNING: ").splitlines()
        if line and not line.startswith(("sent tapfd", "received tapfd", "WARNING: Support for "))
    ]
    said = "; ".join(lines) or "it ended without a word"
    remedy = "run `rpod doctor`, or use --network=host or --network=none"
    if "/dev/net/tun" in log:
        remedy = (
            "make it usable: sudo modprobe tun; sudo chmod 666 /dev/net/tun; "
            "or use --network=host or --network=none"
        )
    elif "unrecognized option" in log:
        remedy = "install slirp4netns 1.0 or newer"
    return HelperFailed(f"start slirp4netns: {said}", remedy=remedy)


def add_port(api_socket: str, mapping: PortMapping) -> int:
    """Publish a port of a running container and return its number.

    Raises PortUnavailable with the reason, HelperFailed.
    """
    _check_ports((mapping,))
    arguments: dict[str, object] = {
        "proto": mapping.protocol,
        "host_addr": mapping.host_ip or _ANY,
        "host_port": mapping.host_port,
        "guest_port": mapping.container_port,
    }
    try:
        answer = _request(api_socket, "add_hostfwd", arguments)
    except HelperFailed:
        # It says only that it failed; doing the same tells why.
        check_host_port(mapping)
        raise
    number = answer.get("id")
    if not isinstance(number, int):
        raise HelperFailed(f"publish {mapping.text}: slirp4netns answered {answer!r}")
    return number


def remove_port(api_socket: str, number: int) -> None:
    """Stop forwarding a port.

    Raises HelperFailed.
    """
    _request(api_socket, "remove_hostfwd", {"id": number})


def list_ports(api_socket: str) -> dict[int, PortMapping]:
    """Return the forwarded ports by their numbers.

    Raises HelperFailed.
    """
    answer = _request(api_socket, "list_hostfwd", {})
    entries = answer.get("entries")
    result: dict[int, PortMapping] = {}
    for entry in entries if isinstance(entries, list) else ():
        host_ip = str(entry["host_addr"])
        result[int(entry["id"])] = PortMapping(
            "" if host_ip == _ANY else host_ip,
            int(entry["host_port"]),
            int(entry["guest_port"]),
            str(entry["proto"]),
        )
    return result


def _request(api_socket: str, command: str, arguments: dict[str, object]) -> dict[str, object]:
    """One connection for each request, ended by shutting the writing side (slirp4netns(1), API)."""
    doing = f"ask slirp4netns for {command}"
    import json  # and with it re: 5 ms that only a published port costs

    data = json.dumps({"execute": command, "arguments": arguments}).encode()
    directory = _open_parent(api_socket)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(_API_TIMEOUT_S)
        sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(api_socket)}")
        while data:
            data = data[sock.send(data) :]
        sock.shutdown(_socket.SHUT_WR)
        text = b""
        while (chunk := sock.recv(65536)) and len(text) < _ANSWER_LIMIT_BYTES:
            text += chunk
        answer = json.loads(text)
    except (OSError, ValueError) as error:
        raise HelperFailed(f"{doing}: {error}") from error
    finally:
        sock.close()
        os.close(directory)
    if not isinstance(answer, dict) or "error" in answer:
        raise HelperFailed(f"{doing} {arguments}: it answered {answer}")
    result = answer.get("return", answer)
    return result if isinstance(result, dict) else {}
