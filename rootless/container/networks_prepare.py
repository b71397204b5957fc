"""A child in the namespaces of a network: makes the bridge, opens the sockets of its DNS.

It stays until the way out is there: slirp4netns and pasta find the namespaces by its process id.
It imports nothing, as it may have left the host's namespaces.
"""

import _socket
import errno
import os
import time

from rootless.container.networks_connection import Connection
from rootless.errors import HostError
from rootless.linux import syscalls
from rootless.linux.userns import IdMaps, apply_maps, no_namespace_error
from rootless.sandbox.channel import Channel
from slirp.masquerade import masquerade
from slirp.model import SlirpOptions
from slirp.netlink import IPV4_FORWARDING, IPV4_PROXY_ARP, IPV4_RP_FILTER, Netlink
from slirp.network_address import parse_address, parse_subnet
from storage.networks import NetworkRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DNS_PORT = 53
_DNS_QUEUE = 16
DEFAULT_MTU = 65520
VETH_PREFIX = "veth"
_QUIT = b"q"
_OLD_WAY_OUT_S = 3.0
_SLIRP_SUBNETS = ("10.0.2.0/24", "172.31.253.0/24", "192.168.253.0/24")
# Of br_netfilter, where it is loaded.
_BRIDGE_FILTERS = "/proc/sys/net/bridge/bridge-nf-call-"
_FORWARDING6 = "/proc/sys/net/ipv6/conf/all/forwarding"
# slirp4netns(1), --enable-ipv6: the subnet, the namespace's side and slirp4netns' side.
_SLIRP6, _SLIRP6_ADDRESS, _SLIRP6_GATEWAY = "fd00::/64", "fd00::100", "fd00::2"
# Locally administered, and the same whenever the bridge is made: neighbours may remember it.
_BRIDGE_MAC = bytes.fromhex("026f70640001")


class Prepared:
    """The child `pid`, and descriptors of all that it has made; a context manager.

    `connection` has the namespaces; `sockets` are those of the DNS, by names such as udp and tcp6.
    """

    __slots__ = ("_channel", "connection", "pid", "sockets")

    def __init__(
        self, record: NetworkRecord, found: Connection, maps: "Callable[[], IdMaps] | None"
    ) -> None:
        """Make what `found` lacks. Raises HostError, NoUserNamespace, IdMapError."""
        self._channel, theirs = Channel.pair()
        self.pid = os.fork()
        if self.pid == 0:
            self._channel.close()
            _child(record, found, theirs)
        theirs.close()
        try:
            fds = self._receive(maps)
        except BaseException:
            self.__exit__()
            raise
        self.connection = Connection(-1, fds.pop("user"), fds.pop("net"))
        self.sockets = fds

    def _receive(self, maps: "Callable[[], IdMaps] | None") -> dict[str, int]:
        fds: dict[str, int] = {}
        while True:
            message, fd = self._channel.receive()
            kind, text = message[:1], message[1:].decode(errors="replace")
            if kind == b"u" and maps is not None:
                apply_maps(self.pid, maps())
                self._channel.send(b"m")
            elif kind == b"f":
                fds[text] = fd
            elif kind == b"d":
                return fds
            elif kind == b"n":
                raise no_namespace_error(OSError(int(text), os.strerror(int(text))))
            else:
                raise HostError(f"make the network: {text or 'its process was killed'}")

    def configure_outgoing(self, interface: str, *, ipv6: bool) -> None:
        """Let packets through the interface of slirp4netns or pasta. Raises HostError.

        `ipv6` adds what slirp4netns would have told a host that asks routers.
        """
        self._channel.send(f"{int(ipv6)}{interface}".encode())
        message, _ = self._channel.receive()
        if message != b"d":
            text = message[1:].decode(errors="replace") or "its process was killed"
            raise HostError(f"make the network's way out: {text}")

    def __enter__(self) -> "Prepared":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # Other children of this process may have inherited the wire: its end would not be seen.
            self._channel.send(_QUIT)
        except OSError:
            pass  # it has ended by itself
        self._channel.close()
        os.waitpid(self.pid, 0)


def _child(record: NetworkRecord, found: Connection, channel: Channel) -> None:
    """Body of the child. Never returns."""
    try:
        _enter(found, channel)
        if found.netns < 0:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            _make_bridge(record)
        else:
            syscalls.setns(found.netns, syscalls.CLONE_NEWNET)
            _wait_for_old_way_out(record)
        for name, path in (("user", "/proc/self/ns/user"), ("net", "/proc/self/ns/net")):
            channel.send(b"f" + name.encode(), os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        if record.dns:
            _open_dns_sockets(record, channel)
        channel.send(b"d")
        while (message := channel.receive()[0]) not in (b"", _QUIT):
            _configure_outgoing(message[1:].decode(), ipv6=message[:1] == b"1")
            channel.send(b"d")
    except OSError as error:
        notes = "; ".join(getattr(error, "__notes__", ["set up its namespace"]))
        _tell(channel, f"{notes}: {error.strerror}")
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        _tell(channel, f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def _wait_for_old_way_out(record: NetworkRecord) -> None:
    """Let the interface go whose helper ends with the one that was killed."""
    deadline_s = time.monotonic() + _OLD_WAY_OUT_S
    with Netlink() as netlink:
        while time.monotonic() < deadline_s:
            others = set(netlink.names()) - {"lo", record.interface}
            if all(name.startswith(VETH_PREFIX) for name in others):
                return
            time.sleep(0.01)


def _tell(channel: Channel, text: str) -> None:
    try:
        channel.send(b"e" + text.encode()[:4000])
    except OSError:
        return  # nobody is left to be told


def _enter(found: Connection, channel: Channel) -> None:
    if found.userns >= 0:
        syscalls.setns(found.userns, syscalls.CLONE_NEWUSER)
        return
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
    except OSError as error:
        channel.send(b"n%d" % (error.errno or errno.EPERM))
        os._exit(0)
    channel.send(b"u")
    channel.expect(b"m")


def mtu_of(record: NetworkRecord) -> int:
    """Return the largest packet of a network: as slirp4netns', that costs the least."""
    return int(record.options.get("mtu", DEFAULT_MTU))


def slirp_options(record: NetworkRecord) -> SlirpOptions:
    """Return how slirp4netns serves a network: by a subnet that the network does not have."""
    own = [parse_subnet(entry["subnet"]) for entry in record.subnets]
    own += [parse_subnet(route["destination"]) for route in record.routes]
    free = (
        text
        for text in _SLIRP_SUBNETS
        if not any(parse_subnet(text).overlaps(other) for other in own)
    )
    return SlirpOptions(cidr=next(free, _SLIRP_SUBNETS[0]), enable_ipv6=record.ipv6)


def _make_bridge(record: NetworkRecord) -> None:
    with Netlink() as netlink:
        netlink.bring_up(netlink.index("lo"))
        bridge = netlink.make_bridge(record.interface, mac=_BRIDGE_MAC, mtu=mtu_of(record))
        for entry in record.subnets:
            subnet = parse_subnet(entry["subnet"])
            netlink.add_address(bridge, parse_address(entry["gateway"]), subnet)
        # Forged senders of elsewhere end here: nobody is to answer them.
        netlink.configure_ipv4(bridge, {IPV4_RP_FILTER: 1})
        netlink.bring_up(bridge)
        _leave_bridged_packets_alone()
        if record.internal:
            return
        netlink.configure_ipv4(bridge, {IPV4_FORWARDING: 1})
    if record.ipv6:
        _forward_ipv6()
    try:
        masquerade(record.interface)
    except OSError as error:
        # ENOENT, EOPNOTSUPP, EPROTONOSUPPORT: a kernel without nf_tables. slirp4netns takes
        # packets of other addresses too, once it finds their owners (proxy ARP, below).
        if record.ipv6 or record.options.get("outgoing") == "pasta":
            error.add_note("nf_tables is needed for IPv6 and for pasta")
            raise


def _leave_bridged_packets_alone() -> None:
    """Keep packets between containers from filters that are for routed ones.

    They would be put together there and cut again, which loses the largest datagrams.
    """
    for kind in ("iptables", "ip6tables", "arptables"):
        try:
            with open(f"{_BRIDGE_FILTERS}{kind}", "w", encoding="ascii") as file:
                file.write("0")
        except OSError:
            return  # ENOENT: br_netfilter is not loaded; EACCES: /proc/sys cannot be written


def _forward_ipv6() -> None:
    try:
        with open(_FORWARDING6, "w", encoding="ascii") as file:
            file.write("1")
    except OSError as error:
        error.add_note(f"write {_FORWARDING6}, for a network with IPv6")
        raise


def _configure_outgoing(interface: str, *, ipv6: bool) -> None:
    with Netlink() as netlink:
        index = netlink.index(interface)
        netlink.configure_ipv4(index, {IPV4_FORWARDING: 1, IPV4_PROXY_ARP: 1})
        if ipv6:
            # A host that forwards does not ask routers, so nothing sets this up by itself.
            netlink.add_address(index, parse_address(_SLIRP6_ADDRESS), parse_subnet(_SLIRP6))
            netlink.add_route(index, parse_address(_SLIRP6_GATEWAY))


def _open_dns_sockets(record: NetworkRecord, channel: Channel) -> None:
    for entry in record.subnets:
        address = parse_address(entry["gateway"])
        family = _socket.AF_INET if address.version == 4 else _socket.AF_INET6
        suffix = "" if address.version == 4 else "6"
        for name, kind in (("udp", _socket.SOCK_DGRAM), ("tcp", _socket.SOCK_STREAM)):
            sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
            if kind == _socket.SOCK_STREAM:
                # The connections of a helper that was killed may still be closing.
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            sock.bind((str(address), _DNS_PORT))
            if kind == _socket.SOCK_STREAM:
                sock.listen(_DNS_QUEUE)
            sock.setblocking(False)
            channel.send(f"f{name}{suffix}".encode(), sock.fileno())
            sock.close()
