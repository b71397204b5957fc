"""Commands on indexes, which docker and podman call manifest lists."""

from rootless.cli.table import (
    COMMAS,
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

_REGISTRY = (
    text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
    text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
         objects=DIRECTORIES),
    text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
    number("retry", "Tries after a failure", default=3),
    text("retry-delay", "Time between tries; doubles each time", default="2s", metavar="DURATION"),
    flag("tls-verify", "Demand HTTPS and a certificate that can be verified", default=None),
)  # fmt: skip
_ANNOTATION = many("annotation", "Annotation to set", metavar="KEY=VALUE")
_DETAILS = (
    _ANNOTATION,
    text("arch", "Architecture to write into the entry", metavar="ARCH"),
    many("features", "Features to write into the entry", metavar="FEATURES", kind=COMMAS),
    text("os", "Operating system to write into the entry", metavar="OS"),
    many("os-features", "Features of the operating system", metavar="FEATURES", kind=COMMAS),
    text("os-version", "Version of the operating system", metavar="VERSION"),
    text("variant", "Variant of the architecture", metavar="VARIANT"),
)
_ALL = flag("all", "Of an index take all images, not only the one for this platform")
_LIST = Argument("list", objects=IMAGES)

COMMANDS = (
    Command(
        "manifest create",
        "Make an index of images",
        "manifest:create",
        (
            _ALL,
            flag("amend", "Add to the list when there is one of this name", short="a"),
            _ANNOTATION,
            *_REGISTRY,
        ),
        (_LIST, Argument("images", 0, UNLIMITED, "[IMAGE...]", IMAGES)),
        description="IMAGE is in the store, or in a file or a directory (oci:, dir:, oci-archive:, "
        "docker-archive:), or in a registry: then its blobs are fetched, and "
        "nothing is unpacked. The index is in the store under its name, like an image: `run` takes "
        "of it the image for this platform.",
        examples=("rpod manifest create localhost/app:1 app:1-amd64 app:1-arm64",),
    ),
    Command(
        "manifest add",
        "Add images to an index",
        "manifest:add",
        (_ALL, *_DETAILS, *_REGISTRY),
        (_LIST, Argument("images", 1, UNLIMITED, "IMAGE [IMAGE...]", IMAGES)),
        examples=("rpod manifest add --arch arm64 localhost/app:1 app:1-arm64",),
    ),
    Command(
        "manifest annotate",
        "Change what an index says about an image",
        "manifest:annotate",
        (*_DETAILS, flag("index", "Set the annotations of the index itself")),
        (_LIST, Argument("image", 0, 1, "IMAGE|DIGEST", IMAGES)),
        examples=("rpod manifest annotate --variant v8 localhost/app:1 app:1-arm64",),
    ),
    Command(
        "manifest inspect",
        "Show an index",
        "manifest:inspect",
        _REGISTRY,
        (_LIST,),
        description="Of the store, else of the registry.",
        examples=("rpod manifest inspect docker.io/library/debian:12",),
    ),
    Command(
        "manifest exists",
        "Exit with 0 when the store has an index, with 1 when not",
        "manifest:exists",
        (),
        (_LIST,),
        examples=("rpod manifest exists localhost/app:1",),
    ),
    Command(
        "manifest push",
        "Send an index to a registry, an archive or a directory",
        "manifest:push",
        (
            flag("all", "Also the images of the index", default=True),
            text("compression-format", "Compression to have in the layers of the images",
                 metavar="FORMAT", choices=("gzip", "zstd", "zstd:chunked")),
            number("compression-level", "1 to 9 for gzip, 1 to 22 for zstd", metavar="LEVEL"),
            text("digestfile", "File to write the digest to", metavar="FILE", objects=FILES),
            text("format", "Media types of the index and its images", short="f",
                 choices=("oci", "v2s2")),
            flag("quiet", "No progress", short="q"),
            flag("remove-signatures", "Accepted: no signature is sent along"),
            flag("rm", "Remove the index from the store when it has been sent", short="p",
                 aliases=("purge",)),
            *_REGISTRY,
        ),
        (_LIST, Argument("destination", 0, 1, "[DESTINATION]")),
        description="With --format or a compression the images get other digests, and so does "
        "the index that is sent; what is in the store stays. DESTINATION is HOST/NAME[:TAG], also "
        "after docker://, oci-archive:PATH[:NAME], oci:PATH[:NAME] or "
        "dir:PATH.",
        examples=("rpod manifest push localhost/app:1 docker://registry.example.org/app:1",),
    ),
    Command(
        "manifest remove",
        "Take an image out of an index",
        "manifest:remove_entry",
        (),
        (_LIST, Argument("digest", 1, 1, "DIGEST")),
        examples=("rpod manifest remove localhost/app:1 sha256:<64 hexadecimal digits>",),
    ),
    Command(
        "manifest rm",
        "Remove indexes from the store",
        "manifest:remove",
        (),
        (Argument("lists", 1, UNLIMITED, "LIST [LIST...]", IMAGES),),
        description="The images stay.",
        examples=("rpod manifest rm localhost/app:1",),
    ),
)  # fmt: skip
