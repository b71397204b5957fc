"""Machines that share a home, simulated on this one: namespaces, a bindfs without chown and xattrs.

Each machine has mount, process, host name and /dev/shm of its own; /run/user, /var/tmp and /tmp are
taken for the account by nothing, so /dev/shm is what a command finds there. Needs root.
"""

import contextlib
import http.client
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

from tests.support.accounts import Account
from tests.support.command import Command

_MACHINE = """
mount -t proc proc /proc && hostname "$1" && mount --bind "$2" /dev/shm || exit 99
[ -z "$3" ] || mount --bind "$3" /dev/fuse || exit 99
[ -z "$4" ] || mount -t tmpfs "$4" /sys/fs/cgroup || exit 99
shift 4
exec "$@"
"""


class Machine(Command):
    """The command on one of the machines, in the environment of a batch job: next to nothing."""

    def __init__(self, name: str, account: Account, home: str, memory: str, no_fuse: str) -> None:
        environment = {"HOME": home, "USER": account.name, "PATH": account.environment()["PATH"]}
        super().__init__(account, environment)
        self.name = name
        self.memory = memory
        self.no_cgroup = ""
        self._no_fuse = no_fuse

    def dropping(self) -> list[str]:
        flags = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--propagation=private"]
        words = ["unshare", *flags, "bash", "-c", _MACHINE, "machine", self.name, self.memory]
        return [*words, self._no_fuse, self.no_cgroup, *super().dropping()]


class Cluster:
    """Two machines, `machines`, and what they share."""

    def __init__(self, account: Account, directory: str) -> None:
        self.account = account
        self.directory = directory
        self.real = f"{directory}/real"
        self.home = f"{directory}/home"
        self.store = f"{self.real}/.local/share/rpod"

    def machine(self, name: str, *, fuse: bool = True) -> Machine:
        memory = f"{self.directory}/{name}"
        if not os.path.isdir(memory):
            os.mkdir(memory)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", name, memory], check=True)
        blocker = ""
        if not fuse:
            blocker = f"{self.directory}/nothing"
            os.close(os.open(blocker, os.O_CREAT, 0))
        return Machine(name, self.account, self.home, memory, blocker)


@contextlib.contextmanager
def running(account: Account) -> Iterator[Cluster]:
    """Mount the home that the machines share; everything is gone after the block."""
    directory = tempfile.mkdtemp(prefix="rpt-cluster-", dir="/tmp")
    os.chmod(directory, 0o755)
    cluster = Cluster(account, directory)
    for path in (cluster.real, cluster.home):
        os.mkdir(path, 0o700)
        os.chown(path, account.uid, account.gid)
    options = ["--chown-deny", "--chgrp-deny", "--xattr-none", "-o", "allow_other"]
    subprocess.run(["bindfs", *options, cluster.real, cluster.home], check=True)
    try:
        yield cluster
    finally:
        for name in os.listdir(directory):
            subprocess.run(["umount", "-l", f"{directory}/{name}"], check=False,
                           capture_output=True)  # fmt: skip
        shutil.rmtree(directory, ignore_errors=True)


class CountingProxy:
    """Passes requests on to a registry; counts the blobs that are fetched, and may be slow."""

    def __init__(self, target: str) -> None:
        self.blobs: list[str] = []
        self.pause_s = 0.0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.answer(self, target)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: http.server.BaseHTTPRequestHandler, target: str) -> None:
        is_blob = "/blobs/" in request.path and request.command == "GET"
        if is_blob:
            self.blobs.append(request.path.rpartition("/")[2])
            time.sleep(self.pause_s)
        connection = http.client.HTTPConnection(target)
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        connection.request(request.command, request.path, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        with contextlib.suppress(ConnectionError):
            request.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    request.send_header(name, value)
            request.end_headers()
            request.wfile.write(data)
        connection.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
