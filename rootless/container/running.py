"""The running container as its monitor holds it: descriptors and ids."""

import _socket  # not `socket`: its enums cost 5 ms of every start
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.networks_use import Uses
    from rootless.container.published import Published
    from slirp.process import Running

Words = dict[str, object]


class Container:
    """What a monitor needs of its container; `deadline_s` is a monotonic time, 0 for none.

    `notes` are for who starts it: what this host could not give. `mounts` is its mount namespace
    (inode) where that has to be known at the end (`rootless.container.orphans`), else 0.
    `network_pidfd` tells the end of slirp4netns or pasta, -1 without one.
    `resolv` is the /etc/resolv.conf that it was given, "" for none of ours.
    """

    __slots__ = (
        "cgroup",
        "deadline_s",
        "fuse",
        "is_terminal",
        "listener",
        "lock_fd",
        "mounts",
        "network",
        "network_fd",
        "network_pidfd",
        "notes",
        "outputs",
        "pid",
        "pidfd",
        "ports",
        "published",
        "resolv",
        "start_time",
        "stdin",
        "terminal",
        "uses",
    )

    def __init__(self, listener: _socket.socket) -> None:
        self.listener = listener
        self.cgroup = ""
        self.fuse = -1
        self.lock_fd = -1
        self.mounts = 0
        self.pid = 0
        self.pidfd = -1
        self.start_time = 0
        self.stdin = -1
        self.terminal = -1
        self.is_terminal = False
        self.outputs: list[tuple[int, int, str]] = []
        self.network: Running | None = None
        self.network_fd = -1
        self.network_pidfd = -1
        self.notes: list[str] = []
        self.published: Published | None = None
        self.ports: list[dict[str, object]] = []
        self.deadline_s = 0.0
        self.resolv = ""
        self.uses: Uses | None = None

    def end_network(self) -> None:
        """Leave the networks, close the published ports, let the helper go."""
        if self.uses is not None:
            self.uses.end()
        if self.published is not None:
            self.published.end()
        self.release_network()

    def release_network(self) -> None:
        """Let slirp4netns or pasta go: it ends when its exit descriptor is closed."""
        if self.network is not None:
            self.network.release()
            self.network = None
        elif self.network_fd >= 0:
            os.close(self.network_fd)
            self.network_fd = -1

    def release_lock(self) -> None:
        """Say that the container is not running any more."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def give(self) -> Words:
        """Return what another program image needs, and let it inherit the descriptors."""
        network_fd = self.network.exit_fd if self.network is not None else -1
        fds = [self.listener.fileno(), self.lock_fd, self.pidfd, self.stdin, self.terminal]
        fds.append(self.network_pidfd)
        held = self.uses.fds() if self.uses is not None else []
        for fd in (*fds, network_fd, *held, *(output[0] for output in self.outputs)):
            if fd >= 0:
                os.set_inheritable(fd, True)
        return {
            "fds": fds,
            "network": network_fd,
            "published": self.published.give() if self.published is not None else None,
            "outputs": self.outputs,
            "pid": self.pid,
            "mounts": self.mounts,
            "terminal": self.is_terminal,
            "deadline": self.deadline_s,
            "resolv": self.resolv,
            "uses": self.uses.give() if self.uses is not None else None,
        }

    @classmethod
    def take(cls, words: Words) -> "Container":
        """Make the container again from what `give` returned; descriptors close at exec again."""
        fds, outputs = words["fds"], words["outputs"]
        assert isinstance(fds, list) and isinstance(outputs, list)
        listener = _socket.socket(fileno=fds[0])
        listener.setblocking(False)
        result = cls(listener)
        result.lock_fd, result.pidfd, result.stdin, result.terminal = fds[1:5]
        result.network_pidfd = fds[5]
        result.outputs = [(int(fd), int(kind), str(stream)) for fd, kind, stream in outputs]
        result.network_fd = int(str(words["network"]))
        if words["published"] is not None:
            from rootless.container.published import Published

            result.published = Published.take(words["published"])
        result.pid = int(str(words["pid"]))
        result.mounts = int(str(words["mounts"]))
        result.is_terminal = bool(words["terminal"])
        result.deadline_s = float(str(words["deadline"]))
        result.resolv = str(words["resolv"])
        uses = words["uses"]
        if isinstance(uses, dict):
            from rootless.container.networks_use import Uses

            result.uses = Uses.take(uses)
        held = result.uses.fds() if result.uses is not None else []
        for fd in (*fds, result.network_fd, *held, *(output[0] for output in result.outputs)):
            if fd >= 0:
                os.set_inheritable(fd, False)
        return result
