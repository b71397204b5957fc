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
        "every id map; what several images share counts once in every sum. The five lines add up "
        "to everything in the store's directory.",
        examples=("rpod system df", "rpod system df -v"),
    ),
    Command(
        "system check",
        "Verify the store, and mend what is broken",
        "check:check",
        (
            flag("force", "With --repair: remove also containers whose image cannot be mended",
                 short="f"),
            text("format", "How to print the result", default="text", choices=("text", "json")),
            flag("quick", "Look only whether everything is there", short="q"),
            flag("repair", "Fetch or make anew what is broken, else remove it", short="r"),
        ),
        description="Records are read, blobs are digested, and each unpacked layer is compared "
        "with what its blob unpacks to. A repair fetches a broken blob again from the registry "
        "that the image came from; only where that fails the image is removed. Exit code 125 when "
        "something is broken, and has not been mended.",
        examples=("rpod system check", "rpod system check --repair"),
    ),
    Command(
        "system prune",
        "Remove containers that do not run, and networks and images that nothing needs",
        "space:prune",
        (
            flag("all", "Also images with a name that no container uses, and what builds keep",
                 short="a"),
            many("filter", "Take only what matches: until=, label=, label!=", metavar="KEY=VALUE"),
            flag("force", "Do not ask", short="f"),
            flag("volumes", "Also volumes that no container uses"),
            flag("build", "Also what builds keep of images that are there, and cache mounts"),
        ),
        description="Also clears away what interrupted commands have left, and steps of builds "
        "that are in no image. Works on a full disk. "
        "The filter is for containers, networks and images; with one, what builds keep stays.",
        examples=("rpod system prune -f", "rpod system prune -af --volumes"),
    ),
    Command(
        "system reset",
        "Remove all containers, pods, images, volumes, networks and secrets, and the store",
        "reset:reset",
        (flag("force", "Do not ask", short="f"),),
        description="Running containers are killed. Of the store's directory only what rpod has "
        "made goes; it is refused where that is no store, has the home directory in it, belongs "
        "to somebody else, or where something is mounted in it. Settings and logins stay.",
        examples=("rpod system reset", "rpod --root /scratch/me/rpod system reset -f"),
    ),
    Command(
        "builder prune",
        "Remove what builds keep",
        "space:prune_builder",
        (
            flag("all", "Accepted; everything that no image needs is removed", short="a"),
            many("filter", "Take only what was not used for some time: until=24h",
                 metavar="KEY=VALUE"),
            flag("force", "Do not ask", short="f"),
        ),
        description="Steps that were built, directories of RUN --mount=type=cache that no build "
        "uses now, digests of files, downloads. Images stay as they are.",
        examples=("rpod builder prune -f", "rpod builder prune -f --filter until=168h"),
    ),
)  # fmt: skip
