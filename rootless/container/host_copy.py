"""`rpod shell --rootfs`: what stands for the image, and the root made from a directory."""

import os

from rootless.errors import HostError, UsageError
from rootless.sandbox.drivers import OVERLAY
from rootless.sandbox.host_copy import HostCopy, mount_points
from rootless.sandbox.root import Root
from storage.files import read_file
from storage.image_record import ImageRecord
from storage.oci.config import ImageConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from storage.containers import ContainerView


def check_directory(path: str, host: "Host", *, root: bool) -> str:
    """Return the absolute path of a directory that can be copied. Raises UsageError, HostError."""
    if root:
        raise UsageError(
            "--rootfs and --as-root: the files of the host's root are nobody's in a namespace of"
            " yours, so root of the copy could not change them either",
            remedy="leave --as-root out; or take an image of the same distribution",
        )
    full = os.path.realpath(path)
    if not os.path.isdir(full):
        raise UsageError(f"--rootfs {path}: not a directory")
    if not os.access(full, os.R_OK | os.X_OK):
        raise UsageError(f"--rootfs {path}: you may not read it")
    from rootless.host.probe import storage_driver

    if storage_driver(host) != OVERLAY:
        raise HostError(
            "--rootfs: this kernel does not let users mount overlays",
            remedy="`rpod doctor` says what would change that; `tar` and `rpod import` make an"
            " image of a directory",
        )
    return full


def no_image(directory: str) -> tuple[ImageRecord, ImageConfig]:
    """Return what stands for the image and its configuration: one that says nothing."""
    from rootless.host.info import architecture

    name = f"rootfs:{directory}"
    record = ImageRecord(
        image_id="", manifest_digest="", config_digest="", media_type="", diff_ids=(),
        chain_ids=(), layer_digests=(), layer_media_types=(), size_bytes=0, created="",
        architecture=architecture(), os="linux", variant="", labels={}, added_at="",
        view_digest="", names=(name,),
    )  # fmt: skip
    raw = {"architecture": architecture(), "os": "linux", "rootfs": {"type": "layers",
           "diff_ids": []}}  # fmt: skip
    return record, ImageConfig.from_json(raw, name)


def make_root(view: "ContainerView", directory: str) -> Root:
    """Describe the root file system."""
    points = mount_points(read_file("/proc/self/mountinfo"))
    return HostCopy(view.paths.rootfs, directory, view.paths.upper, points)
