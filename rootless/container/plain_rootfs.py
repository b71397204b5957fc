"""`--rootfs DIR[:O]`: a directory of the host is the container's root file system, as it is.

With O it is the lower directory of an overlay, and what the container writes is thrown away at its
next start.
"""

import os

from rootless.container.host_copy import no_image
from rootless.container.request import ContainerRequest
from rootless.errors import HostError, UsageError
from rootless.sandbox.drivers import OVERLAY
from rootless.sandbox.root import PLAIN, Root
from storage.image_record import ImageRecord
from storage.oci.config import ImageConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from storage.containers import ContainerView

OVERLAID = "overlay"


def with_rootfs(request: ContainerRequest, cwd: str) -> ContainerRequest:
    """Return the request with the directory in the place of the image. Raises UsageError."""
    path, kind = request.image, PLAIN
    for ending in (":O", ":o"):
        if path.endswith(ending):
            path, kind = path.removesuffix(ending), OVERLAID
    if not path:
        raise UsageError("--rootfs: no directory was given", remedy="rpod run --rootfs DIR COMMAND")
    full = os.path.realpath(os.path.join(cwd, path))
    return request._replace(image="", rootfs=full, rootfs_kind=kind)


def check_directory(host: "Host", request: ContainerRequest) -> tuple[ImageRecord, ImageConfig]:
    """Return what stands for the image. Raises UsageError, HostError."""
    path = request.rootfs
    if not os.path.isdir(path):
        raise UsageError(f"--rootfs {path}: not a directory")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"--rootfs {path}: you may not read it")
    if path == "/":
        raise UsageError(
            "--rootfs /: the host's own root cannot be a container's",
            remedy="`rpod shell --rootfs /` works in a copy of it",
        )
    if request.rootfs_kind == OVERLAID:
        from rootless.host.probe import storage_driver

        if storage_driver(host) != OVERLAY:
            raise HostError(
                f"--rootfs {path}:O: this host does not let users mount overlays",
                remedy="leave :O out, or run `rpod doctor`",
            )
    image, config = no_image(path)
    return image._replace(names=()), config


def make_root(view: "ContainerView") -> Root:
    """Describe the root file system of a container."""
    directory = str(view.record.request["rootfs"])
    if view.record.request["rootfs_kind"] == PLAIN:
        return Root(PLAIN, directory, [], "", "")
    return Root(OVERLAY, view.paths.rootfs, [directory], view.paths.upper, view.paths.work)
