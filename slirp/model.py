"""The records of a container's network."""

from slirp.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class PortMapping(NamedTuple):
    """One published port; `host_ip` "" is every IPv4 address, `host_port` 0 is not chosen yet."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str

    def to_json(self) -> dict[str, object]:
        """Return the record of it, with the keys of podman's."""
        return self._asdict()

    @classmethod
    def from_json(cls, raw: dict[str, object]) -> "PortMapping":
        """Read what `to_json` wrote."""
        return cls(
            str(raw["host_ip"]),
            int(str(raw["host_port"])),
            int(str(raw["container_port"])),
            str(raw["protocol"]),
        )

    @property
    def host_text(self) -> str:
        """The host's side as `port` writes it: 0.0.0.0:8080."""
        host = self.host_ip or "0.0.0.0"  # noqa: S104 - what --publish means without an address
        if ":" in host:
            host = f"[{host}]"
        return f"{host}:{self.host_port}"

    @property
    def text(self) -> str:
        """The whole as `ps` writes it: 0.0.0.0:8080->80/tcp."""
        return f"{self.host_text}->{self.container_port}/{self.protocol}"

    def after(self, count: int) -> "PortMapping":
        """Return the mapping so many ports further on."""
        host_port, port = self.host_port + count, self.container_port + count
        return PortMapping(self.host_ip, host_port, port, self.protocol)

    def range_text(self, count: int) -> str:
        """Return so many from this one on, as `ps` writes them."""
        last = self.after(count - 1)
        inside = f"{self.container_port}-{last.container_port}"
        return f"{self.host_text}-{last.host_port}->{inside}/{self.protocol}"


def ports_column(mappings: "Iterable[PortMapping]") -> str:
    """Return several as `ps` writes them: 0.0.0.0:8080-8082->80-82/tcp, protocol by protocol."""
    parts: list[str] = []
    wanted = sorted(mappings, key=lambda mapping: mapping.protocol)
    while wanted:
        first, count = wanted[0], 1
        while count < len(wanted) and wanted[count] == first.after(count):
            count += 1
        parts.append(first.text if count == 1 else first.range_text(count))
        del wanted[:count]
    return ", ".join(parts)


class SlirpOptions(NamedTuple):
    """`--network slirp4netns:...`; `enable_ipv6` None is decided by the host's routes.

    `port_handler` slirp4netns publishes ports with slirp4netns's own forwarding.
    """

    allow_host_loopback: bool = False
    cidr: str = "10.0.2.0/24"
    mtu: int = 65520
    enable_ipv6: bool | None = None
    outbound_addr: str = ""
    outbound_addr6: str = ""
    port_handler: str = "rootlesskit"

    @property
    def address(self) -> str:
        """The container's own address (slirp4netns(1): network + 100)."""
        return self._host(100)

    @property
    def gateway(self) -> str:
        """The host as seen from the container, when loopback is allowed (network + 2)."""
        return self._host(2)

    @property
    def dns(self) -> str:
        """The forwarder to the host's name servers (network + 3)."""
        return self._host(3)

    def _host(self, number: int) -> str:
        first, second, third, fourth = self.cidr.partition("/")[0].split(".")
        value = (int(first) << 24) + (int(second) << 16) + (int(third) << 8) + int(fourth)
        length = int(self.cidr.partition("/")[2])
        value = (value >> (32 - length) << (32 - length)) + number
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


class NetworkSettings(NamedTuple):
    """`--network`, parsed: `mode` is slirp4netns, pasta, none, host, container or ns.

    `target` is the container or the path of the last two.
    """

    mode: str
    slirp: SlirpOptions = SlirpOptions()
    pasta: tuple[str, ...] = ()
    target: str = ""

    @property
    def is_private(self) -> bool:
        """Whether the container gets a network namespace with a connection of its own."""
        return self.mode in ("slirp4netns", "pasta")

    @property
    def forwards(self) -> bool:
        """Whether published ports go through rpod's own forwarder."""
        return self.mode == "slirp4netns" and self.slirp.port_handler != "slirp4netns"
