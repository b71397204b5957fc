"""system service: answer clients of docker's API."""

import sys

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host


def service(invocation: "Invocation") -> int:
    """Listen until nobody has been connected for a while."""
    import socket

    from rootless.cli.invocation import Invocation as NewInvocation
    from rootless.service.connection import serve_connection
    from rootless.service.meeting import sweep
    from rootless.service.server import serve

    host = invocation.host()
    uri = invocation.text("uri") or f"unix://{host.layout.run_root}/rpod.sock"

    def open_host() -> "Host":
        # What the configuration says may have changed since the service began.
        return NewInvocation(invocation.command, {}, invocation.settings).host()

    def handle(client: socket.socket) -> None:
        serve_connection(client, open_host)

    def tell(text: str) -> None:
        sys.stderr.write(f"Warning: {text}\n")
        sys.stderr.flush()

    idle_s = float(invocation.number("time") or 0)
    if idle_s < 0:
        raise UsageError("--time: a number of seconds, or 0 for ever")
    sweep(host)
    serve(uri, idle_s, handle, tell)
    return 0
