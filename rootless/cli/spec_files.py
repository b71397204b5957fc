"""Commands on the files of containers."""

from rootless.cli.table import (
    CONTAINERS,
    FILES,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    text,
)

_SOME = Argument("containers", 0, UNLIMITED, "[CONTAINER...]", CONTAINERS)
_LATEST = flag("latest", "Take the container made last", short="l")

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
    Command(
        "commit",
        "Make an image of a container",
        "files:commit",
        (
            text("author", "Author of the image", short="a", metavar="AUTHOR"),
            many("change", "Set a part of the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, "
                 "ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR", short="c", metavar="INSTRUCTION"),
            text("format", "Media types of the image", short="f", default="oci",
                 choices=("oci", "docker")),
            text("iidfile", "Write the image's id to a file", metavar="FILE", objects=FILES),
            flag("include-volumes", "Give the image a volume wherever the container has something "
                 "mounted"),
            text("message", "Comment in the image's history", short="m"),
            flag("pause", "Accepted; a commit never pauses the container", short="p"),
            flag("quiet", "No progress", short="q"),
            flag("squash", "Make one layer of all that the container has", short="s"),
        ),
        (
            Argument("container", objects=CONTAINERS),
            Argument("image", 0, 1, "[IMAGE]"),
        ),
        aliases=("container commit",),
        description="The image is that of the container and one layer with what it has changed; "
        "what volumes show is not part of it, but an anonymous volume makes one of the image. "
        "Prints the image's id.",
        examples=("rpod commit -c 'CMD [\"serve\"]' web site:2",),
    ),
    Command(
        "diff",
        "Show what a container has changed in its image",
        "files:diff",
        (
            text("format", "json instead of lines", metavar="FORMAT", choices=("json",)),
            flag("latest", "Take the container made last", short="l"),
        ),
        (Argument("container", 0, 1, "[CONTAINER]", CONTAINERS),),
        aliases=("container diff",),
        description="A is added, C changed, D deleted. What volumes show is not part of it.",
        examples=("rpod diff web",),
    ),
    Command(
        "export",
        "Write a container's file system as a tar archive",
        "files:export",
        (text("output", "Write to a file instead of standard output", short="o", metavar="FILE",
              objects=FILES),),
        (Argument("container", objects=CONTAINERS),),
        aliases=("container export",),
        description="What volumes and other mounts show is not part of it.",
        examples=("rpod export -o web.tar web", "rpod export web | rpod import - web:copy"),
    ),
    Command(
        "mount",
        "Mount the root file systems of containers",
        "mount:mount",
        (
            flag("all", "Mount every container", short="a"),
            text("format", "json instead of lines", metavar="FORMAT", choices=("json",)),
            _LATEST,
            flag("no-trunc", "Show whole ids", aliases=("notruncate",)),
        ),
        (_SOME,),
        aliases=("container mount",),
        description="Prints where. A regular user can mount only inside `rpod unshare`, and only "
        "what runs there sees it; it ends with that session. Without CONTAINER it shows what this "
        "session has mounted. Volumes are not part of it. A container cannot be started while its "
        "root is mounted.",
        examples=("rpod unshare sh -c 'ls $(rpod mount web)/etc'",),
    ),
    Command(
        "unmount",
        "Unmount the root file systems of containers",
        "mount:unmount",
        (
            flag("all", "Unmount every container that is mounted", short="a"),
            flag("force", "Also when something is still in it", short="f"),
            _LATEST,
        ),
        (_SOME,),
        aliases=("umount", "container unmount", "container umount"),
        examples=("rpod unmount web", "rpod umount --all"),
    ),
    Command(
        "rename",
        "Give a container another name",
        "files:rename",
        (),
        (Argument("container", objects=CONTAINERS), Argument("name", metavar="NAME")),
        aliases=("container rename",),
        examples=("rpod rename agitated_curie web",),
    ),
)  # fmt: skip
