"""compose: an application of several containers, described by a file. The whole of it here; what is
done to its containers is in `spec_compose_container`.
"""

from rootless.cli import table
from rootless.cli.table import (
    COMMAS,
    DIRECTORIES,
    FILES,
    UNLIMITED,
    Argument,
    Command,
    Option,
    flag,
    many,
    number,
    text,
)


def _of_group(option: Option) -> Option:
    """An option between `compose` and the command is kept beside those of rpod itself."""
    return option._replace(field=f"compose_{option.field}")


# Between `compose` and the command.
GROUP_OPTIONS = tuple(map(_of_group, (
    many("file", "Compose file; several lie over each other; - is standard input", short="f",
         metavar="FILE", objects=FILES),
    text("project-name", "Name of the project instead of the directory's", short="p"),
    many("profile", "Activate a profile; * for all", metavar="NAME"),
    many("env-file", "File with variables instead of .env", metavar="FILE", objects=FILES),
    text("project-directory", "Where relative paths begin, instead of the first file's directory",
         metavar="DIR", objects=DIRECTORIES),
    number("parallel", "How many things are done at once; -1 has no limit", default=-1),
    text("ansi", "Colors and control characters", default="auto",
         choices=("never", "always", "auto")),
    text("progress", "How progress is shown", default="auto",
         choices=("auto", "tty", "plain", "json", "quiet")),
    text("limits", "strict: a limit that cannot be enforced is an error; best-effort",
         default="strict", choices=("strict", "best-effort")),
    flag("version", "Print the version", short="v"),
    flag("all-resources", "Take networks and volumes that no service uses, too"),
)))  # fmt: skip

SERVICES = Argument("names", 0, UNLIMITED, "[SERVICE...]", table.SERVICES)
TIMEOUT = number("timeout", "Seconds to wait before a stop becomes a kill", short="t",
                 metavar="SECONDS")  # fmt: skip
_ORPHANS = flag("remove-orphans", "Remove containers of services that the file does not have")
_SCALE = many("scale", "Number of containers of a service", metavar="SERVICE=NUM")
_BUILD = flag("build", "Build the images first")
_NO_BUILD = flag("no-build", "Build no image, even a missing one")
_PULL = text("pull", "When to fetch images: always, missing, never, or build",
             metavar="POLICY")  # fmt: skip
_QUIET_PULL = flag("quiet-pull", "No progress while images are fetched")
_RECREATE = (
    flag("force-recreate", "Make containers anew that have not changed"),
    flag("no-recreate", "Leave containers that have changed as they are"),
)
_LOOKS = (
    flag("no-color", "No colors"),
    flag("no-log-prefix", "No names before the lines"),
)

COMMANDS = (
    Command(
        "compose up",
        "Make and start what a compose file describes",
        "compose_up:up",
        (
            flag("abort-on-container-exit", "Stop all when one container ends"),
            flag("abort-on-container-failure", "Stop all when one container fails"),
            flag("always-recreate-deps", "Make the containers of dependencies anew, too"),
            many("attach", "Show the output of these services only", metavar="SERVICE"),
            flag("attach-dependencies", "Show the output of dependencies, too"),
            _BUILD,
            flag("detach", "Leave the containers in the background", short="d"),
            text("exit-code-from", "End with the exit code of this service; implies"
                 " --abort-on-container-exit", metavar="SERVICE"),
            *_RECREATE,
            many("no-attach", "Do not show the output of these services", metavar="SERVICE"),
            _NO_BUILD,
            *_LOOKS,
            flag("no-deps", "Leave the services that others depend on alone"),
            flag("no-start", "Start nothing"),
            _PULL,
            flag("quiet-build", "No progress of builds"),
            _QUIET_PULL,
            _ORPHANS,
            flag("renew-anon-volumes", "Make anonymous volumes anew as well", short="V"),
            _SCALE,
            TIMEOUT,
            flag("timestamps", "Show when each line was written"),
            flag("wait", "Wait until the services run, and are healthy; implies --detach"),
            number("wait-timeout", "Seconds to wait at most", metavar="SECONDS"),
            flag("yes", "Accepted: nothing is asked", short="y"),
        ),
        (SERVICES,),
        description="Builds or fetches images, makes networks, volumes and containers, and starts"
        " them as depends_on says. What has not changed stays as it is. Without --detach the output"
        " of the services is shown until they end; ctrl-c stops them, a second one kills them.",
        examples=("rpod compose up -d", "rpod compose up --build web"),
    ),
    Command(
        "compose down",
        "Stop and remove the containers and networks of a project",
        "compose_project:down",
        (
            _ORPHANS,
            text("rmi", "Remove images, too: local ones, which the project has built, or all",
                 metavar="KIND", choices=("local", "all")),
            TIMEOUT,
            flag("volumes", "Remove volumes, too", short="v"),
        ),
        (SERVICES,),
        examples=("rpod compose down", "rpod compose down --volumes --rmi local"),
    ),
    Command(
        "compose create",
        "Make the containers of services without starting them",
        "compose_up:create",
        (_BUILD, *_RECREATE, _NO_BUILD, _PULL, _QUIET_PULL, _ORPHANS, _SCALE,
         flag("yes", "Accepted: nothing is asked", short="y")),
        (SERVICES,),
        examples=("rpod compose create",),
    ),
    Command(
        "compose config",
        "Show the file as it is understood: merged, filled in, in its long form",
        "compose_config:config",
        (
            flag("environment", "Show the variables that are filled in"),
            text("format", "yaml or json", choices=("yaml", "json")),
            text("hash", "Show the hash of services, * for all", metavar="SERVICE[,SERVICE]"),
            flag("images", "Show the names of the images"),
            flag("networks", "Show the names of the networks"),
            flag("no-interpolate", "Leave variables as they are written"),
            text("output", "Write to a file", short="o", metavar="FILE", objects=FILES),
            flag("profiles", "Show the names of the profiles"),
            flag("quiet", "Only check", short="q"),
            flag("services", "Show the names of the services"),
            flag("variables", "Show the variables that the file uses"),
            flag("volumes", "Show the names of the volumes"),
        ),
        (SERVICES,),
        aliases=("compose convert",),
        examples=("rpod compose config", "rpod compose config --services"),
    ),
    Command(
        "compose ps",
        "List the containers of a project",
        "compose_list:ps",
        (
            flag("all", "Show those that do not run, too", short="a"),
            many("filter", "Show those only: status=STATE", metavar="FILTER"),
            text("format", "table, json, or a Go template", metavar="FORMAT"),
            flag("no-trunc", "Shorten nothing"),
            flag("orphans", "Show those of services that the file does not have", default=True),
            flag("quiet", "Print the ids", short="q"),
            flag("services", "Print the names of the services"),
            many("status", "Show those in this state only", metavar="STATE", kind=COMMAS),
        ),
        (SERVICES,),
        examples=("rpod compose ps --all", "rpod compose ps --format json"),
    ),
    Command(
        "compose ls",
        "List the projects that have containers",
        "compose_list:ls",
        (
            flag("all", "Show those that do not run, too", short="a"),
            many("filter", "Show those only: name=NAME", metavar="FILTER"),
            text("format", "table or json", choices=("table", "json")),
            flag("quiet", "Print the names", short="q"),
        ),
        (),
        examples=("rpod compose ls",),
    ),
    Command(
        "compose logs",
        "Show what the containers of services have written",
        "compose_logs:logs",
        (
            flag("follow", "Go on until the containers end", short="f"),
            number("index", "Number of the container of the service"),
            *_LOOKS,
            text("since", "Show what was written after a time", metavar="TIME"),
            text("tail", "How many lines of each container: a number or all", short="n",
                 default="all", metavar="LINES"),
            flag("timestamps", "Show when each line was written", short="t"),
            text("until", "Show what was written before a time", metavar="TIME"),
        ),
        (SERVICES,),
        examples=("rpod compose logs -f web",),
    ),
    Command(
        "compose version",
        "Print the version",
        "compose_list:version",
        (
            text("format", "pretty or json", short="f", choices=("pretty", "json")),
            flag("short", "Print the number alone"),
        ),
        (),
        examples=("rpod compose version",),
    ),
)  # fmt: skip
