"""Files of containers: archive (GET, HEAD, PUT), export, changes.

Paths are resolved in the container's root by the kernel (openat2, RESOLVE_IN_ROOT), as `cp` does.
"""

import base64
import json
import os
import stat
import time

from rootless.container.copy import End, copy
from rootless.container.inside import Inside
from rootless.linux import syscalls
from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from rootless.service.naming import container_of
from rootless.service.transfer import BodyAsStdin, download
from storage.containers import ContainerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_TAR = "application/x-tar"
# Go's io/fs.FileMode.
_KINDS = {
    stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFIFO: 1 << 25, stat.S_IFSOCK: 1 << 24,
    stat.S_IFBLK: 1 << 26, stat.S_IFCHR: (1 << 26) | (1 << 21),
}  # fmt: skip
_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def _path(exchange: Exchange) -> str:
    path = exchange.text("path")
    if not path or "\0" in path:
        raise HttpError(400, "path is missing")
    return path if path.startswith("/") else f"/{path}"


def head(exchange: Exchange) -> None:
    found = container_of(exchange)
    exchange.answer(200, b"", _TAR, _stat_header(exchange.host, found, _path(exchange)))


def get(exchange: Exchange) -> None:
    found, path = container_of(exchange), _path(exchange)
    headers = _stat_header(exchange.host, found, path)
    source, target = End(found.record.id, path), End("", "-")

    def work() -> int:
        copy(exchange.host, source, target, archive=False)
        return 0

    download(exchange, work, _TAR, headers)


def put(exchange: Exchange) -> None:
    found, path = container_of(exchange), _path(exchange)
    entry = _look(exchange.host, found, path, follow=True)
    if not int(str(entry["mode"])) & (1 << 31):
        raise HttpError(400, "extraction point is not a directory")
    body = BodyAsStdin(exchange)
    copy(
        exchange.host,
        End("", "-"),
        End(found.record.id, path),
        archive=exchange.flag("copyUIDGID"),
        own_ids=True,
        overwrite=not exchange.flag("noOverwriteDirNonDir"),
    )
    body.check_whole()
    exchange.done(200)


def _stat_header(host: "Host", found: ContainerView, path: str) -> dict[str, str]:
    text = json.dumps(_look(host, found, path))
    return {"X-Docker-Container-Path-Stat": base64.b64encode(text.encode()).decode()}


def _look(
    host: "Host", found: ContainerView, path: str, *, follow: bool = False
) -> dict[str, object]:
    """Return what docker tells of a path. Raises HttpError."""
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS

    def work() -> list[object]:
        # No module can be loaded here: the root directory is the container's.
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = syscalls.openat2(root, path, flags, resolve=resolve)
        except OSError as error:
            return [error.errno, 0, 0, 0, ""]
        status = os.fstat(fd)
        link = os.readlink("", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
        return [0, status.st_size, status.st_mode, int(status.st_mtime), link]

    with Inside(host, found.record.id) as inside:
        result = inside.start(work).result()
    assert isinstance(result, list)
    number, size, mode, changed_s, link = result
    if number:
        raise HttpError(
            404,
            f"Could not find the file {path} in container {found.record.name}:"
            f" {os.strerror(number).lower()}",
        )
    kind = _KINDS.get(stat.S_IFMT(mode), 0)
    bits = sum(value for bit, value in _BITS.items() if mode & bit)
    return {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "size": size,
        "mode": (mode & 0o777) | kind | bits,
        "mtime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed_s)),
        "linkTarget": link,
    }


def export(exchange: Exchange) -> None:
    from rootless.container.export import export_root

    container_id = container_of(exchange).record.id

    def work() -> int:
        export_root(exchange.host, container_id, 1)
        return 0

    download(exchange, work, _TAR)


def changes(exchange: Exchange) -> None:
    from rootless.container.changes import container_changes

    kinds = {"C": 0, "A": 1, "D": 2}
    found = container_changes(exchange.host, container_of(exchange).record.id)
    exchange.send([{"Path": path, "Kind": kinds[kind]} for kind, path in found] or None)
