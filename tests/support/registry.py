"""Debian's docker-registry on loopback, for the length of a test session."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator

_CONFIG = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry:
    """A running registry; `host` is `127.0.0.1:PORT`."""

    def __init__(self, port: int, directory: str) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.directory = directory

    def skopeo(self, *arguments: str) -> str:
        """Run skopeo; return its output. It takes no notice of anybody's credentials."""
        environment = {**os.environ, "XDG_RUNTIME_DIR": self.directory, "HOME": self.directory}
        done = subprocess.run(
            ["skopeo", "--insecure-policy", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, source: str, name: str) -> str:
        """Copy an image (a skopeo transport reference) to the registry; return its full name."""
        target = f"{self.host}/{name}"
        self.skopeo("copy", "--dest-tls-verify=false", "--quiet", source, f"docker://{target}")
        return target


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing() -> str:
    """Name the tools that a registry for tests needs and that are not there."""
    needed = ("docker-registry", "skopeo")
    return ", ".join(name for name in needed if shutil.which(name) is None)


@contextlib.contextmanager
def running() -> Iterator[Registry]:
    """Run a registry on a free port until the end of the block."""
    directory = tempfile.mkdtemp(prefix="rpt-registry-")
    port = free_port()
    config = os.path.join(directory, "config.yml")
    with open(config, "w", encoding="utf-8") as out:
        out.write(_CONFIG.format(root=os.path.join(directory, "data"), port=port))
    with open(os.path.join(directory, "log"), "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait_until_up(process, port)
        yield Registry(port, directory)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "docker-registry ended at its start"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("docker-registry does not answer")
