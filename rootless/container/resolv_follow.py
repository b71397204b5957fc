"""Keep a running container's /etc/resolv.conf in step with the host's.

The monitor learns that the host's has changed and forks a child that writes the container's: what
that needs does not stay in the monitor's memory. A file that somebody inside has changed is theirs.
"""

import os
import select

from rootless.container.etc import read_resolv_conf
from rootless.linux import signals as signal
from slirp.resolv_watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.monitor import Monitor
    from storage.containers import ContainerView

_LOOK_S = 5.0


class ResolvFollower:
    """Part of the monitor of a container that has a resolv.conf of ours."""

    def __init__(self, monitor: "Monitor", view: "ContainerView") -> None:
        self._monitor = monitor
        self._view = view
        self._written = monitor.container.resolv
        self._pid = 0
        self._is_stale = False
        signal.signal(signal.SIGIO, lambda number, frame: None)
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        self._watch = Watch()
        monitor.watch(self._watch.mounts, self._mounted, select.POLLPRI)
        self._pace()
        if self._watch.newest_ns() >= _changed_ns(f"{view.paths.etc}/resolv.conf"):
            self._start()  # it has changed while the container was started

    def _mounted(self, fd: int, event: int) -> None:
        self._pace()
        self.look()

    def _pace(self) -> None:
        """Look from time to time where no event tells of a change."""
        every_s = _LOOK_S if self._watch.is_out_of_sight() else 0.0
        signal.setitimer(signal.ITIMER_REAL, every_s, every_s)

    def look(self) -> None:
        """Write the container's file if the host's is another one; SIGIO or SIGALRM has come."""
        if not self._watch.has_changed():
            return
        if self._pid:
            self._is_stale = True
        else:
            self._start()

    def reread(self) -> None:
        """Take the file as ours: `network connect` or `disconnect` has written it."""
        self._written = read_resolv_conf(self._view.paths.etc)

    def _start(self) -> None:
        self._is_stale = False
        try:
            self._pid = os.fork()
        except OSError:
            return  # no process to be had: the next change tries again
        if self._pid == 0:
            self._be_writer()
        self._monitor.watch(os.pidfd_open(self._pid), self._ended)

    def _ended(self, fd: int, event: int) -> None:
        self._monitor.forget(fd)
        os.close(fd)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if status == 0:
            self.reread()
        if self._is_stale:
            self._start()

    def _be_writer(self) -> None:
        """Body of the child. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            os.closerange(3, 1 << 31 - 1)  # the container's lock among them
            if read_resolv_conf(self._view.paths.etc) == self._written:
                _write(self._view, self._monitor.container.resolv)
                code = 0
        finally:
            os._exit(code)


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return 0


def _write(view: "ContainerView", at_start: str) -> None:
    from rootless.container.etc import replace_text, request_of, resolv_conf

    record, paths = view.record, view.paths
    if record.network == "bridge":
        from rootless.container.networks_files import refresh_resolv_conf
        from storage.layout import Layout

        # <store>/containers/<id> and <run root>/containers/<id>
        store = os.path.dirname(os.path.dirname(paths.directory))
        layout = Layout(store, os.path.dirname(os.path.dirname(paths.run_dir)))
        refresh_resolv_conf(layout, record.id)
        return
    text = resolv_conf(request_of(record), record, at_start=at_start)
    if text.encode(errors="surrogateescape").decode("latin-1") != read_resolv_conf(paths.etc):
        replace_text(f"{paths.etc}/resolv.conf", text)
