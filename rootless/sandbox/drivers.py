"""Names of the ways to make a container's root, as records keep them."""

OVERLAY = "overlay"
FUSE = "fuse-overlayfs"
COPY = "copy"
SQUASH = "squashfs"
MOUNTED_FROM_OUTSIDE = (FUSE, SQUASH)
