"""Commands on images, and the `image` noun's own."""

from rootless.cli.table import (
    DIRECTORIES,
    FILES,
    IMAGES,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_IMAGES = Argument("images", 1, UNLIMITED, "IMAGE [IMAGE...]", IMAGES)
_QUIET = flag("quiet", "No progress", short="q")

COMMANDS = (
    Command(
        "pull",
        "Fetch images from a registry",
        "image:pull",
        (
            flag("all-tags", "Fetch all tags of the repository", short="a"),
            text("arch", "Architecture instead of this machine's", metavar="ARCH"),
            text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
            text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
                 objects=DIRECTORIES),
            text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
            flag("disable-content-trust", "Accepted; means nothing here"),
            text("os", "Operating system instead of this one", metavar="OS"),
            text("platform", "Platform of the image: OS/ARCH[/VARIANT]", metavar="PLATFORM"),
            text("policy", "When to fetch", default="always",
                 choices=("always", "missing", "never", "newer")),
            _QUIET,
            number("retry", "Tries after a failure", default=3),
            text("retry-delay", "Time between tries; doubles each time", default="2s",
                 metavar="DURATION"),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
            text("variant", "Variant of the architecture", metavar="VARIANT"),
        ),
        (_IMAGES,),
        aliases=("image pull",),
        description="Prints the image's id. A pull that was interrupted goes on from what has "
        "arrived. Images also come from files: docker-archive:PATH[:REFERENCE], "
        "oci-archive:PATH[:REFERENCE], oci:PATH[:REFERENCE], dir:PATH; and out of podman's store: "
        "containers-storage:NAME. A name without a registry "
        "is looked up in registries.conf: its aliases, then its search list; without either it "
        "is Docker Hub's.",
        examples=(
            "rpod pull docker.io/library/debian:12",
            "rpod pull oci-archive:debian.tar",
            "rpod pull containers-storage:localhost/app:1",
        ),
    ),
    Command(
        "load",
        "Load images from an archive",
        "image:load",
        (
            text("input", "Archive, or directory as `save` writes them; standard input by default",
                 short="i", metavar="FILE", objects=FILES),
            _QUIET,
        ),
        aliases=("image load",),
        description="Takes what `docker save`, `podman save` and skopeo write, also compressed.",
        examples=("rpod load -i image.tar", "zstdcat image.tar.zst | rpod load"),
    ),
    Command(
        "import",
        "Make an image from a plain root file system",
        "image:import_",
        (
            text("arch", "Architecture to write into the image", metavar="ARCH"),
            many("change", "Set a part of the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, "
                 "STOPSIGNAL, USER, VOLUME or WORKDIR", short="c", metavar="INSTRUCTION"),
            text("message", "Comment in the image's history", short="m"),
            text("os", "Operating system to write into the image", metavar="OS"),
            _QUIET,
            text("variant", "Variant of the architecture", metavar="VARIANT"),
        ),
        (
            Argument("path", 1, 1, "PATH|-", FILES),
            Argument("reference", 0, 1, "[REFERENCE]"),
        ),
        aliases=("image import",),
        description="PATH is a tar archive, compressed or not, a directory, or - for standard "
        "input.",
        examples=("tar -C rootfs -c . | rpod import -c 'CMD [\"sh\"]' - mine:latest",),
    ),
    Command(
        "rmi",
        "Remove one or more images",
        "image:remove",
        (
            flag("all", "Remove every image", short="a"),
            flag("force", "Remove the containers that use them first", short="f"),
            flag("ignore", "Do not mind images that do not exist", short="i"),
            flag("no-prune", "Accepted; images without a name are never removed along"),
        ),
        (Argument("images", 0, UNLIMITED, "IMAGE [IMAGE...]", IMAGES),),
        aliases=("image rm", "image remove"),
        description="A name of an image that has several is only taken away. Exit code 1 when an "
        "image does not exist, 2 when a container needs it.",
        examples=("rpod rmi debian:12",),
    ),
    Command(
        "tag",
        "Give an image another name",
        "image:tag",
        (),
        (
            Argument("image", objects=IMAGES),
            Argument("names", 1, UNLIMITED, "NAME [NAME...]"),
        ),
        aliases=("image tag",),
        examples=("rpod tag debian:12 localhost/base:1",),
    ),
    Command(
        "untag",
        "Take names from an image",
        "image:untag",
        (),
        (
            Argument("image", objects=IMAGES),
            Argument("names", 0, UNLIMITED, "[NAME...]", IMAGES),
        ),
        aliases=("image untag",),
        description="Without NAME all its names are taken away.",
        examples=("rpod untag debian:12 localhost/base:1",),
    ),
    Command(
        "image exists",
        "Exit with 0 when an image exists, with 1 when not",
        "image:exists",
        (),
        (Argument("image", objects=IMAGES),),
        examples=("rpod image exists debian:12 || rpod pull debian:12",),
    ),
    Command(
        "image prune",
        "Remove images that nothing needs",
        "image:prune",
        (
            flag("all", "Also named ones that no container uses", short="a"),
            flag("external", "Also images of other tools; the store has none"),
            many("filter", "Take only images that match: until=, label=, label!=",
                 metavar="KEY=VALUE"),
            flag("force", "Do not ask", short="f"),
        ),
        examples=("rpod image prune -f",),
    ),
)  # fmt: skip
