"""A container in a container: what the filter of the outer one leaves to the inner.

The default filters of podman and docker keep sethostname(2) for CAP_SYS_ADMIN of the outer
container, which its processes do not have, and allow user namespaces (podman) or neither (docker).
"""

import os

from rootless.linux import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host


def fit_host_name(host: "Host", request: "ContainerRequest") -> "ContainerRequest":
    """Let the container keep this host's name where a filter lets nobody set another one.

    Whoever has asked for a name gets the error of it. To be called below a filter only: the one way
    to know is to try, in a process of its own.
    """
    if request.hostname or request.uts not in ("", "private") or _can_set_host_name():
        return request
    host.note("the container keeps this host's name: a seccomp filter forbids to set one")
    return request._replace(uts="host")


def _can_set_host_name() -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            sc.unshare(sc.CLONE_NEWUSER | sc.CLONE_NEWUTS)
            sc.sethostname(os.uname().nodename)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0
