"""Commands about what containers use and may use: update, stats, pause, unpause."""

from rootless.cli.limit_options import resource_options
from rootless.cli.spec_run import HEALTH_OPTIONS
from rootless.cli.table import (
    COMMAS,
    CONTAINERS,
    IMAGES,
    PODS,
    RUNNING,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_ANY = Argument("containers", 0, UNLIMITED, "CONTAINER [CONTAINER...]", RUNNING)
_LATEST = flag("latest", "Take the container made last", short="l")
_CIDFILE = many("cidfile", "Read a container's id from a file", metavar="FILE")
_FILTER = many("filter", "Take only containers that match", short="f", metavar="KEY=VALUE",
               kind=COMMAS)  # fmt: skip

COMMANDS = (
    Command(
        "update",
        "Change the limits and settings of a container",
        "limits:update",
        (
            *resource_options(),
            many("cgroup-conf", "Write a file of the cgroup", metavar="FILE=VALUE"),
            text(
                "restart",
                "When it is started again: no, always, on-failure[:N], unless-stopped",
                metavar="POLICY",
            ),
            many(
                "env",
                "Set an environment variable, for exec and from the next start on",
                short="e",
                metavar="NAME[=VALUE]",
            ),
            many("unsetenv", "Leave out an environment variable", metavar="NAME"),
            *HEALTH_OPTIONS,
            _LATEST,
        ),
        (Argument("container", 0, 1, "CONTAINER", RUNNING),),
        aliases=("container update",),
        description="A running container has limits, restart policy and the times of its checks at"
        " once, and everything at its next start.",
        examples=("rpod update --memory 1g --cpus 2 web",),
    ),
    Command(
        "container clone",
        "Make a container with the settings of another",
        "limits:clone",
        (
            *resource_options(),
            flag("destroy", "Remove the other container then"),
            flag("force", "With --destroy: also when it runs", short="f"),
            text("name", "Name of the new container"),
            text("pod", "Put the new container into a pod", metavar="POD", objects=PODS),
            flag("run", "Start the new container"),
        ),
        (
            Argument("container", objects=CONTAINERS),
            Argument("new_name", 0, 1, "[NAME]"),
            Argument("image", 0, 1, "[IMAGE]", IMAGES),
        ),
        description="Its files and anonymous volumes begin anew. Without a name it is called "
        "NAME-clone. Prints the id.",
        examples=("rpod container clone --memory 1g web web2",),
    ),
    Command(
        "stats",
        "Show what containers use",
        "limits:stats",
        (
            flag("all", "Show all containers, also those that do not run", short="a"),
            text("format", "Go template, table template, or json", metavar="FORMAT"),
            number("interval", "Seconds between two looks", short="i", default=5),
            _LATEST,
            flag("no-reset", "Do not clear the screen between two looks"),
            flag("no-stream", "Look once"),
            flag("no-trunc", "Show whole ids"),
        ),
        (_ANY,),
        aliases=("container stats",),
        description="Where a container has no cgroup its processes are added up from /proc.",
        examples=("rpod stats --no-stream", "rpod stats --format json web"),
    ),
    Command(
        "pause",
        "Stop all processes of containers for a while",
        "limits:pause",
        (flag("all", "Pause every running container", short="a"), _CIDFILE, _FILTER, _LATEST),
        (_ANY,),
        aliases=("container pause",),
        description="By the freezer of cgroup v2; the processes do not notice it.",
        examples=("rpod pause web",),
    ),
    Command(
        "unpause",
        "Let paused containers go on",
        "limits:unpause",
        (flag("all", "Let every paused container go on", short="a"), _CIDFILE, _FILTER, _LATEST),
        (_ANY,),
        aliases=("container unpause",),
        examples=("rpod unpause web",),
    ),
)
