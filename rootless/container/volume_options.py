"""Volumes made with options: a directory of the host, or memory."""

from rootless.container.mounts import TMPFS, UserMount
from rootless.container.tmpfs_words import tmpfs_options
from storage.volumes import VolumeRecord


def mount_with_options(mount: UserMount, volume: VolumeRecord) -> UserMount:
    """Return the mount of a volume as the volume's options want it. Raises UsageError."""
    words = volume.mount_options
    if not volume.is_tmpfs:
        # It stands for a directory of the user: nothing is put into it, nor its owner changed.
        own = [word for word in words if word not in ("bind", "rbind", "rw")]
        options = [word for word in mount.options if not (word == "rw" and "ro" in own)]
        if "bind" in words:
            options = ["bind" if word == "rbind" else word for word in options]
        return mount._replace(copy_up=False, options=tuple(dict.fromkeys((*options, *own))))
    asked = [word for word in mount.options if word in ("ro", "noexec", "nosuid", "nodev")]
    copied = "tmpcopyup" if mount.copy_up else "notmpcopyup"
    options = list(tmpfs_options([copied, *words, *asked], volume.name))
    return mount._replace(kind=TMPFS, copy_up=False, options=tuple(options))
