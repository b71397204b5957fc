"""Commands about what the store takes up."""

from rootless.cli.table import Command, flag, many, text

COMMANDS = (
    Command(
        "system df",
        "Show how much of the disk is taken up",
        "space:df",
        (
            text("format", "json, or a Go template; `table ` before it adds headings",
                 metavar="FORMAT"),
            flag("verbose", "Each image, container and volume", short="v"),
        ),
        description="Sizes are what is allocated on the disk, of blobs and of unpacked layers, for "
        "every id map; what several images share counts once in every sum. The four lines add up "
        "to everything in the store's directory.",
        examples=("rpod system df", "rpod system df -v"),
    ),
    Command(
        "system prune",
        "Remove containers that do not run, and images that nothing needs",
        "space:prune",
        (
            flag("all", "Also images with a name that no container uses", short="a"),
            many("filter", "Take only what matches: until=, label=, label!=", metavar="KEY=VALUE"),
            flag("force", "Do not ask", short="f"),
            flag("volumes", "Also volumes that no container uses"),
        ),
        description="Also clears away what interrupted commands have left. Works on a full disk. "
        "The filter is for containers and images.",
        examples=("rpod system prune -f", "rpod system prune -af --volumes"),
    ),
)  # fmt: skip
