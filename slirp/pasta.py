"""pasta: the host's own addresses inside the container, without translation (pasta(1)).

pasta has no exit descriptor, and an older one does not notice that its namespace has gone, so a
shell holds it: a child of it waits for the end of the exit pipe and then ends pasta; the shell ends
with pasta. (PR_SET_PDEATHSIG is no
help: the kernel clears it when pasta gains capabilities by joining the user namespace.)
"""

from slirp.errors import HelperFailed
from slirp.model import PortMapping
from slirp.process import Namespaces, Pipes, Running, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Link-local, so it never hides a real host: pasta passes it on to the host's name server.
DNS_FORWARDER = "169.254.1.1"

# The shell gives up the ready pipe, so that its end is seen when pasta fails.
_KEEPER = (
    '"$@" </dev/null & pasta=$!; exec 3<&0 >/dev/null;'
    ' { read -r _ <&3; kill "$pasta"; } 2>/dev/null &'
    ' wait "$pasta"; code=$?; kill $! 2>/dev/null; wait; exit $code'
)


def start(
    pid: int,
    arguments: "Sequence[str]" = (),
    *,
    ports: "Sequence[PortMapping]" = (),
    namespaces: Namespaces | None = None,
) -> Running:
    """Start pasta for the network namespace of `pid`; call `wait_ready` before its exec.

    `arguments` are pasta's own, from --network pasta:...; `ports` have their host ports.
    Raises HelperMissing, HelperFailed.
    """
    pipes = Pipes("pasta")
    command = [
        "pasta",
        "--config-net",
        "--foreground",
        "--stderr",
        "--quiet",
        # Written when everything is set up: the ready byte.
        "--pid=/proc/self/fd/1",
        *port_arguments(arguments, ports),
        # podman's word for what pasta does unless it is told --no-map-gw.
        *(argument for argument in arguments if argument != "--map-gw"),
        *_target(pid, namespaces),
    ]
    keeper = spawn(
        ["/bin/sh", "-c", _KEEPER, "rpod-pasta", *command],
        pipes,
        stdin=pipes.exit_read,
        stdout=pipes.ready_write,
        inherit=namespaces or (),
    )
    return Running(
        "pasta",
        keeper,
        exit_fd=pipes.exit_write,
        ready_fd=pipes.ready_read,
        log=pipes.log,
        explain=_explain,
    )


def _target(pid: int, namespaces: Namespaces | None) -> tuple[str, ...]:
    if namespaces is None:
        return (str(pid),)
    user, net = namespaces.paths()
    return (f"--userns={user}", f"--netns={net}")


def port_arguments(arguments: "Sequence[str]", ports: "Sequence[PortMapping]") -> tuple[str, ...]:
    """Return what publishes `ports` and nothing else, unless the user's arguments say so."""
    given = {_option(argument) for argument in arguments}
    result = []
    for short, long, protocol in (("-t", "--tcp-ports", "tcp"), ("-u", "--udp-ports", "udp")):
        specifications = [_specification(port) for port in ports if port.protocol == protocol]
        if not specifications and not given & {short, long}:
            specifications = ["none"]
        for text in specifications:
            result += [short, text]
    # Without these the container could reach what listens on the host's loopback.
    for short, long in (("-T", "--tcp-ns"), ("-U", "--udp-ns")):
        if not given & {short, long}:
            result += [short, "none"]
    if not given & {"--map-gw", "--no-map-gw", "--map-host-loopback"}:
        result.append("--no-map-gw")
    if "--dns-forward" not in given:
        result += ["--dns-forward", DNS_FORWARDER]
    return tuple(result)


def notes(ports: "Sequence[PortMapping]") -> tuple[str, ...]:
    """Return what the user should know about these ports, one line each."""
    if not any(one.protocol == "udp" and one.host_port != one.container_port for one in ports):
        return ()
    return (
        "a UDP port that is published under another number: a pasta before 2024 answers clients of "
        "other machines only, not of this host's loopback: use one number for both, or "
        "--network=slirp4netns",
    )


def _option(argument: str) -> str:
    return argument.partition("=")[0]


def _specification(port: PortMapping) -> str:
    address = f"{port.host_ip}/" if port.host_ip else ""
    return f"{address}{port.host_port}:{port.container_port}"


def _explain(log: str) -> HelperFailed:
    # Before its complaint about a missing log, and before the help text, it says what is wrong.
    lines = [
        line.strip()
        for line in log.partition("Usage:")[0].splitlines()
        if line.strip() and not line.startswith("Failed to send ")
    ]
    said = "; ".join(lines[:5]) or "it ended without a word"
    if "not found" in said:
        return HelperFailed(
            "start pasta: it is not installed",
            remedy="install passt (`rpod doctor` has the command), or leave --network out",
        )
    return HelperFailed(
        f"start pasta: {said}", remedy="leave --network out to use slirp4netns, or see pasta(1)"
    )
