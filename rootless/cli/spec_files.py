"""Commands on the files of containers."""

from rootless.cli.table import CONTAINERS, Argument, Command, flag

COMMANDS = (
    Command(
        "cp",
        "Copy files between a container and the host, or between containers",
        "files:copy",
        (
            flag("archive", "Give what is copied into a container to the container's user; with "
                 "--archive=false owners are kept", short="a", default=True),
            flag("overwrite", "Let a directory take the place of a file, and a file that of a "
                 "directory"),
            flag("pause", "Accepted; a copy never pauses the container", default=True),
        ),
        (
            Argument("source", metavar="[CONTAINER:]SRC_PATH", objects=CONTAINERS),
            Argument("target", metavar="[CONTAINER:]DEST_PATH", objects=CONTAINERS),
        ),
        aliases=("container cp",),
        description="One of the two paths, or both, begin with the name of a container and a "
        "colon; the container need not run. - is a tar archive on standard input or output. "
        "SRC_PATH/. stands for what is in a directory. Paths of a container count from its root; "
        "links lead to where they lead in the container.",
        examples=("rpod cp web:/etc/nginx ./nginx", "rpod cp site/. web:/srv/www",
                  "rpod cp web:/var/log - | tar t"),
    ),
)  # fmt: skip
