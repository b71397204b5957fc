"""The command that explains before anything happens."""

from rootless.cli.table import FILES, IMAGES, Argument, Command, many, text

COMMANDS = (
    Command(
        "explain",
        "Say what a container's user may do with a mount",
        "explain:explain",
        (
            many("volume", "The mount, as for run", short="v", metavar="SOURCE:TARGET[:OPTIONS]",
                 objects=FILES),
            text("user", "User of the process, as for run", short="u", metavar="USER[:GROUP]"),
            text("userns", "User namespace, as for run", metavar="MODE"),
            text("format", "How it is printed: text or json", default="text",
                 choices=("text", "json")),
        ),
        (Argument("image", 0, 1, "[IMAGE]", IMAGES),),
        description="Who owns the source, which ids that is inside, what the container's user may "
        "do with it, the first directory on the way that keeps you out, and what would change "
        "that. Root inside is taken to have CAP_DAC_OVERRIDE. Nothing is made or changed; an IMAGE "
        "has to be there, and its user is the one that counts without --user.",
        examples=("rpod explain -v ./data:/data -u 1000", "rpod explain -v ~/src:/src debian:12"),
    ),
)  # fmt: skip
