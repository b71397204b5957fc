"""Commands on named volumes."""

from rootless.cli.table import (
    COMMAS,
    UNLIMITED,
    VOLUMES,
    Argument,
    Command,
    flag,
    many,
    text,
)

COMMANDS = (
    Command(
        "volume create",
        "Make a volume",
        "volume:create",
        (
            text("driver", "Driver; local is the only one", short="d", default="local",
                 choices=("local",)),
            flag("ignore", "Do not mind a volume that exists"),
            many("label", "Attach a label", short="l", metavar="KEY=VALUE", kind=COMMAS),
            many("opt", "Option of the driver", short="o", metavar="KEY=VALUE"),
        ),
        (Argument("name", 0, 1, "[NAME]"),),
        description="Prints the name, which is made up when none is given.",
        examples=("rpod volume create data",),
    ),
    Command(
        "volume ls",
        "List volumes",
        "volume:list_",
        (
            many("filter", "Show only what matches: name, label, driver, dangling, until",
                 short="f", metavar="KEY=VALUE", kind=COMMAS),
            text("format", "json, jsonl, or a Go template; `table ` before it adds headings",
                 metavar="FORMAT"),
            flag("noheading", "No headings", short="n"),
            flag("quiet", "Only names", short="q"),
        ),
        aliases=("volume list",),
        examples=("rpod volume ls", "rpod volume ls -q --filter dangling=true"),
    ),
    Command(
        "volume inspect",
        "Show everything about volumes",
        "volume:inspect",
        (
            flag("all", "Every volume", short="a"),
            text("format", "json or a Go template", short="f", default="json", metavar="FORMAT"),
        ),
        (Argument("names", 0, UNLIMITED, "VOLUME [VOLUME...]", VOLUMES),),
        examples=("rpod volume inspect -f '{{.Mountpoint}}' data",),
    ),
    Command(
        "volume rm",
        "Remove one or more volumes",
        "volume:remove",
        (
            flag("all", "Every volume", short="a"),
            flag("force", "Remove the containers that use them first, do not mind missing ones",
                 short="f"),
        ),
        (Argument("names", 0, UNLIMITED, "VOLUME [VOLUME...]", VOLUMES),),
        aliases=("volume remove",),
        description="Exit code 1 when a volume does not exist, 2 when a container needs it.",
        examples=("rpod volume rm data",),
    ),
    Command(
        "volume prune",
        "Remove volumes that no container uses",
        "volume:prune",
        (
            flag("all", "Also named ones, not only anonymous ones", short="a"),
            many("filter", "Take only volumes that match: until=, label=, label!=",
                 metavar="KEY=VALUE"),
            flag("force", "Do not ask", short="f"),
        ),
        examples=("rpod volume prune -f",),
    ),
    Command(
        "volume exists",
        "Exit with 0 when a volume exists, with 1 when not",
        "volume:exists",
        (),
        (Argument("name", objects=VOLUMES),),
        examples=("rpod volume exists data || rpod volume create data",),
    ),
)  # fmt: skip
