"""Commands that write images to files, or show what they consist of."""

from rootless.cli.table import (
    DIRECTORIES,
    FILES,
    IMAGES,
    UNLIMITED,
    Argument,
    Command,
    flag,
    text,
)

_IMAGES = Argument("images", 1, UNLIMITED, "IMAGE [IMAGE...]", IMAGES)
_SOME_IMAGES = Argument("images", 0, UNLIMITED, "[IMAGE...]", IMAGES)

COMMANDS = (
    Command(
        "save",
        "Save images to an archive",
        "archives:save",
        (
            flag("compress", "Compress layers that are stored without, for docker-dir"),
            text("format", "Kind of archive, or of directory", default="docker-archive",
                 choices=("docker-archive", "oci-archive", "oci-dir", "docker-dir")),
            flag("multi-image-archive", "Accepted: several images are always saved as such",
                 short="m"),
            text("output", "File, or directory; standard output by default", short="o",
                 metavar="FILE", objects=FILES),
            flag("quiet", "No progress", short="q"),
            flag("uncompressed", "Accepted: layers that are stored without compression stay so"),
        ),
        (_IMAGES,),
        aliases=("image save",),
        description="Layers stay as they are stored, byte for byte, so that digests stay, too; "
        "only zstd layers are inflated for docker's formats. An image has the names in the archive "
        "by which it was given, none when by its id.",
        examples=(
            "rpod save -o debian.tar debian:12",
            "rpod save --format oci-archive app:1 app:2 | ssh host rpod load",
        ),
    ),
    Command(
        "history",
        "Show the steps in which an image was made",
        "history:history",
        (
            text("format", "json, or a Go template; `table ` before it adds headings",
                 metavar="FORMAT"),
            flag("human", "Times and sizes for people", short="H", default=True),
            flag("no-trunc", "Show everything in full", aliases=("notruncate",)),
            flag("quiet", "Only ids", short="q"),
        ),
        (Argument("image", objects=IMAGES),),
        aliases=("image history",),
        description="The newest step comes first. A step has an id when the store has the image "
        "that ended with it.",
        examples=("rpod history debian:12",),
    ),
    Command(
        "image diff",
        "Show what an image changes in its parent",
        "image_diff:diff",
        (text("format", "json instead of lines", metavar="FORMAT", choices=("json",)),),
        (
            Argument("image", objects=IMAGES),
            Argument("base", 0, 1, "[BASE]", IMAGES),
        ),
        description="The parent is all but the top layer, or the image BASE. A is added, C "
        "changed, D deleted.",
        examples=("rpod image diff app:1 debian:12",),
    ),
    Command(
        "image mount",
        "Mount the root file systems of images, read-only",
        "image_mount:mount",
        (
            flag("all", "Mount every image", short="a"),
            text("format", "json instead of lines", metavar="FORMAT", choices=("json",)),
        ),
        (_SOME_IMAGES,),
        description="Prints where. A regular user can mount only inside `rpod unshare`, and only "
        "what runs there sees it. Without IMAGE it shows what is mounted.",
        examples=("rpod unshare sh -c 'ls $(rpod image mount debian:12)/etc'",),
    ),
    Command(
        "image unmount",
        "Unmount images",
        "image_mount:unmount",
        (
            flag("all", "Unmount every image", short="a"),
            flag("force", "Also when something is still in it", short="f"),
        ),
        (_SOME_IMAGES,),
        aliases=("image umount",),
        examples=("rpod image unmount --all",),
    ),
    Command(
        "image publish",
        "Write images to a store that other users read",
        "publish:publish",
        (
            flag("remove", "Take the images out of it instead"),
            flag("squash", "Write each image as a squashfs, too, which readers mount instead of "
                 "unpacking the image"),
        ),
        (
            Argument("directory", 1, 1, "DIR", DIRECTORIES),
            Argument("images", 0, UNLIMITED, "[IMAGE...]", IMAGES),
        ),
        description="Without IMAGE all images with a name. DIR is made when it is not there. Who "
        "names it in `additional_stores` (rpod.toml(5)) has its images at once, without fetching "
        "them; each user unpacks them into the store of their own, or mounts the squashfs where "
        "squashfuse and /dev/fuse are there and its owner is root, the user, or one of the user's "
        "`trusted_publishers`. DIR may be changed while it is read: it has no locks. Other tools "
        "read it as an OCI image layout.",
        examples=(
            "rpod image publish /srv/images debian:12",
            "rpod image publish --squash /srv/images debian:12",
            "rpod image publish --remove /srv/images debian:12",
        ),
    ),
    Command(
        "image squash",
        "Write an image to a file that runs where it lies",
        "publish:squash",
        (
            text("compression", "gzip, lz4, zstd or xz", default="zstd",
                 choices=("gzip", "lz4", "zstd", "xz")),
            flag("force", "Replace the file", short="f"),
        ),
        (
            Argument("image", objects=IMAGES),
            Argument("file", 1, 1, "FILE.sqfs", FILES),
        ),
        description="The file is a squashfs with the image's configuration behind it; `rpod run "
        "FILE.sqfs` mounts it, without unpacking, where squashfuse and /dev/fuse are there, and "
        "unpacks it once otherwise. Other programs read it as a squashfs. `rpod run` takes SIF "
        "files (FILE.sif), too.",
        examples=("rpod image squash debian:12 debian.sqfs", "rpod run --rm ./debian.sqfs true"),
    ),
    Command(
        "image trust",
        "Show which images are accepted, by policy.json",
        "trust:show",
        (
            flag("json", "As json", short="j"),
            flag("noheading", "No headings", short="n"),
            flag("raw", "The policy as it is written"),
        ),
        (Argument("action", metavar="show"), Argument("registry", 0, 1, "[REGISTRY]")),
        description="The user's ~/.config/containers/policy.json, else the system's, else "
        "everything is accepted. ID names the files of keys, STORE where signatures are looked "
        "for.",
        examples=("rpod image trust show",),
    ),
    Command(
        "image scp",
        "Copy an image to another machine, or from it, over ssh",
        "image_scp:scp",
        (flag("quiet", "No progress", short="q"),),
        (
            Argument("source", 1, 1, "IMAGE|HOST::IMAGE"),
            Argument("destination", 0, 1, "[HOST::[NAME]|NAME]"),
        ),
        description="HOST is a host of ssh, also as USER@HOST or ssh://USER@HOST:PORT, and needs "
        "rpod there: layers that the far side has are not sent again. Where it has only podman or "
        "docker, an image goes whole. USER@localhost is another user of this machine, reached with "
        "sudo. With a host on both sides the image goes from one to the other. NAME is what the "
        "image is called there.",
        examples=(
            "rpod image scp app:1 build@far.example.org::",
            "rpod image scp far.example.org::debian:12",
            "rpod image scp app:1 other@localhost::",
        ),
    ),
    Command(
        "image receive",
        "Take an image from `rpod image scp` on the other side",
        "image_scp:receive",
        (flag("quiet", "No progress", short="q"),),
        description="Reads standard input and answers on standard output; then prints the names "
        "and ids of what has come to standard error.",
        examples=("rpod image receive",),
    ),
    Command(
        "image send",
        "Give an image to `rpod image scp` on the other side",
        "image_scp:send",
        (flag("quiet", "No progress", short="q"),),
        (Argument("image", objects=IMAGES), Argument("name", 0, 1, "[NAME]")),
        description="Writes to standard output and reads answers from standard input.",
        examples=("rpod image send debian:12",),
    ),
    Command(
        "image tree",
        "Show the layers of an image as a tree",
        "history:tree",
        (flag("whatrequires", "Show what was built on the image instead"),),
        (Argument("image", objects=IMAGES),),
        examples=("rpod image tree debian:12",),
    ),
)  # fmt: skip
