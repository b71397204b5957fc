"""Commands that send to registries, and that say to them who the user is."""

from rootless.cli.table import (
    DIRECTORIES,
    FILES,
    IMAGES,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_AUTHFILE = text("authfile", "File to keep the credentials in", metavar="FILE", objects=FILES)
_REGISTRY = Argument("registry", 0, 1, "[REGISTRY]")

COMMANDS = (
    Command(
        "push",
        "Send an image to a registry",
        "registry:push",
        (
            text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
            text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
                 objects=DIRECTORIES),
            flag("compress", "Compress layers that are stored without, for dir:"),
            text("compression-format", "Compression to have in the layers", metavar="FORMAT",
                 choices=("gzip", "zstd", "zstd:chunked")),
            number("compression-level", "1 to 9 for gzip, 1 to 22 for zstd", metavar="LEVEL"),
            text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
            text("digestfile", "File to write the image's digest to", metavar="FILE",
                 objects=FILES),
            flag("disable-content-trust", "Accepted; means nothing here"),
            text("format", "Kind of manifest to have: the OCI's or docker's", short="f",
                 choices=("oci", "v2s2")),
            flag("quiet", "No progress", short="q"),
            flag("remove-signatures", "Accepted: no signature is sent along"),
            number("retry", "Tries after a failure", default=3),
            text("retry-delay", "Time between tries; doubles each time", default="2s",
                 metavar="DURATION"),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
        ),
        (
            Argument("image", objects=IMAGES),
            Argument("destination", 0, 1, "[DESTINATION]"),
        ),
        aliases=("image push",),
        description="DESTINATION is HOST/NAME[:TAG], also after docker://, or "
        "docker-archive:PATH[:NAME], oci-archive:PATH[:NAME], oci:PATH[:NAME], dir:PATH; without "
        "it the image goes where its name says. Manifest and layers are sent as they are stored, "
        "so the digest of an image that was pulled stays, unless another format or compression is "
        "asked for. zstd:chunked is zstd with a table of contents, from which newer podmans fetch "
        "only the files that they do not have; a layer that a table cannot describe (with sparse "
        "files, or a name twice) gets plain zstd. What the registry has is not sent again. Of a "
        "list of manifests (see `rpod manifest`) all images are sent.",
        examples=(
            "rpod push registry.example.org/team/app:1",
            "rpod push --digestfile digest localhost/app registry.example.org/team/app:1",
            "rpod push --compression-format zstd app:1 oci:images:app",
        ),
    ),
    Command(
        "search",
        "Search registries for images",
        "search:search",
        (
            text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
            text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
                 objects=DIRECTORIES),
            flag("compatible", "Also columns for stars, official and automated"),
            text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
            many("filter", "Take only what matches: is-official=, is-automated=, stars=",
                 short="f", metavar="KEY=VALUE"),
            text("format", "json, or a Go template; `table ` before it adds headings",
                 metavar="FORMAT"),
            number("limit", "How many results of each registry; 25 by default, all tags"),
            flag("list-tags", "List the tags of the repository TERM instead"),
            flag("no-trunc", "Show descriptions in full"),
            number("retry", "Tries after a failure", default=3),
            text("retry-delay", "Time between tries; doubles each time", default="2s",
                 metavar="DURATION"),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
        ),
        (Argument("term", 1, 1, "TERM"),),
        aliases=("image search",),
        description="TERM is a part of a name, after HOST/ for one registry only; HOST/ alone "
        "lists what it has. Without HOST the registries of `unqualified-search-registries` are "
        "asked, else Docker Hub.",
        examples=(
            "rpod search --limit 5 alpine",
            "rpod search --list-tags docker.io/library/debian",
            "rpod search registry.example.org/",
        ),
    ),
    Command(
        "login",
        "Show a registry who you are, and keep it for later",
        "login:login",
        (
            _AUTHFILE,
            text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
                 objects=DIRECTORIES),
            flag("get-login", "Print the user that is logged in, and do nothing else"),
            text("password", "Password; others can see it in the list of processes", short="p",
                 metavar="PASSWORD"),
            flag("password-stdin", "Read the password from standard input"),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
            text("username", "User at the registry", short="u", metavar="USER"),
            flag("verbose", "Also tell where the login is kept", short="v"),
        ),
        (_REGISTRY,),
        description="REGISTRY is HOST[:PORT], or HOST[:PORT]/PATH for a part of it; docker.io by "
        "default. The registry is asked first. The credentials are then kept in the file of "
        "--authfile or REGISTRY_AUTH_FILE, by default $XDG_RUNTIME_DIR/containers/auth.json, which "
        "podman reads as well; or by the credential helper that the file names.",
        examples=(
            "rpod login quay.io",
            "rpod login -u ci --password-stdin registry.example.org < token",
        ),
    ),
    Command(
        "logout",
        "Forget the credentials for a registry",
        "login:logout",
        (
            flag("all", "For every registry", short="a"),
            _AUTHFILE,
        ),
        (_REGISTRY,),
        examples=("rpod logout quay.io", "rpod logout --all"),
    ),
)  # fmt: skip
