"""Commands that only look: ps, images, inspect."""

from rootless.cli.table import (
    COMMAS,
    CONTAINERS,
    IMAGES,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_FORMAT = text("format", "json, jsonl, or a Go template; `table ` before it adds headings",
               metavar="FORMAT")  # fmt: skip
_INSPECT_FORMAT = text("format", "json or a Go template", short="f", default="json",
                       metavar="FORMAT")  # fmt: skip
_SIZE = flag("size", "Also how much a container has written", short="s")
_FILTER = many("filter", "Show only what matches", short="f", metavar="KEY=VALUE",
               kind=COMMAS)  # fmt: skip
_NO_TRUNC = flag("no-trunc", "Show everything in full", aliases=("notruncate",))

COMMANDS = (
    Command(
        "ps",
        "List containers",
        "ps:ps",
        (
            flag("all", "Show all, not only the running ones", short="a"),
            flag("external", "Also those of other tools; the store has none"),
            _FILTER,
            _FORMAT,
            number("last", "Show the last made ones, of any state", short="n", default=-1),
            flag("latest", "Show the one made last, of any state", short="l"),
            _NO_TRUNC,
            flag("noheading", "No headings"),
            flag("ns", "Show the namespaces", aliases=("namespace",)),
            flag("pod", "Show the pods' ids and names", short="p"),
            flag("quiet", "Only ids", short="q"),
            flag("size", "Show what the containers have written", short="s"),
            flag("sync", "Ask the kernel for the states; it is always asked"),
            number("watch", "Show the list again after so many seconds", short="w",
                   metavar="SECONDS"),
            text("sort", "Order", default="created",
                 choices=("command", "created", "id", "image", "names", "runningfor", "status")),
        ),
        aliases=("container ls", "container list", "container ps"),
        examples=(
            "rpod ps -a",
            "rpod ps --filter label=app=web --format '{{.ID}} {{.Names}}'",
        ),
    ),
    Command(
        "images",
        "List images",
        "images:images",
        (
            flag("all", "Show all images", short="a"),
            flag("digests", "Show the manifests' digests"),
            _FILTER,
            flag("history", "Show the names that an image has had"),
            _FORMAT,
            _NO_TRUNC,
            flag("noheading", "No headings", short="n"),
            flag("quiet", "Only ids", short="q"),
            text("sort", "Order", default="created",
                 choices=("created", "id", "repository", "size", "tag")),
        ),
        (Argument("image", 0, 1, "[IMAGE]", IMAGES),),
        aliases=("image ls", "image list"),
        examples=("rpod images", "rpod images -q --filter dangling=true"),
    ),
    Command(
        "inspect",
        "Show everything about containers, images or volumes",
        "inspect:inspect",
        (
            _INSPECT_FORMAT,
            flag("latest", "Take the container made last", short="l"),
            _SIZE,
            text("type", "Kind of object", short="t", default="all",
                 choices=("all", "container", "image", "network", "volume")),
        ),
        (Argument("names", 0, UNLIMITED, "NAME [NAME...]", CONTAINERS),),
        examples=(
            "rpod inspect web",
            "rpod inspect -f '{{.State.Status}} {{.State.ExitCode}}' job",
        ),
    ),
    Command(
        "container inspect",
        "Show everything about containers",
        "inspect:inspect_containers",
        (_INSPECT_FORMAT, flag("latest", "Take the container made last", short="l"), _SIZE),
        (Argument("names", 0, UNLIMITED, "CONTAINER [CONTAINER...]", CONTAINERS),),
        examples=("rpod container inspect -f '{{.Config.Env}}' web",),
    ),
    Command(
        "image inspect",
        "Show everything about images",
        "inspect:inspect_images",
        (_INSPECT_FORMAT,),
        (Argument("names", 1, UNLIMITED, "IMAGE [IMAGE...]", IMAGES),),
        examples=("rpod image inspect -f '{{.Config.Cmd}}' debian:12",),
    ),
)  # fmt: skip
