"""Commands on pods: containers that share namespaces, and live and go together."""

from rootless.cli.table import (
    COMMAS,
    FILES,
    IMAGES,
    NETWORKS,
    PODS,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

_PODS = Argument("pods", 0, UNLIMITED, "POD [POD...]", PODS)
_LATEST = flag("latest", "Take the pod made last", short="l")
_ID_FILE = many("pod-id-file", "Read a pod's id from a file", metavar="FILE", objects=FILES)
_IGNORE = flag("ignore", "Do not mind pods that do not exist", short="i")
_TIME = number("time", "Seconds to wait before the stop becomes a kill; -1 for ever", short="t",
               metavar="SECONDS", aliases=("timeout",))  # fmt: skip
_FORMAT = text("format", "json, jsonl, or a Go template; `table ` before it adds headings",
               metavar="FORMAT")  # fmt: skip

_SYSCTL = many("sysctl", "Set a kernel parameter of the shared namespaces", metavar="NAME=VALUE",
               kind=COMMAS)  # fmt: skip

_NETWORK = (
    many("network", "Network of the pod: slirp4netns[:OPTIONS], pasta, none, host, or the name of "
         "one made by `network create`", metavar="MODE|NAME[:OPTIONS]", aliases=("net",),
         objects=NETWORKS),
    many("network-alias", "Further name in the user-defined networks", metavar="NAME"),
    text("ip", "IPv4 address in the user-defined network", metavar="ADDRESS"),
    text("ip6", "IPv6 address in the user-defined network", metavar="ADDRESS"),
    text("mac-address", "Hardware address in the user-defined network", metavar="ADDRESS"),
    many("publish", "Publish a port of the pod: [[IP:][HOST]:]CONTAINER[/PROTOCOL]", short="p",
         metavar="PORTS", kind=COMMAS),
    many("dns", "Name server", metavar="ADDRESS", kind=COMMAS),
    many("dns-search", "Search domain", metavar="DOMAIN", kind=COMMAS),
    many("dns-option", "Option for resolv.conf", metavar="OPTION", kind=COMMAS,
         aliases=("dns-opt",)),
    many("add-host", "Add a line to /etc/hosts", metavar="NAME:ADDRESS", kind=COMMAS),
    flag("no-hosts", "Leave the images' /etc/hosts as they are"),
    _SYSCTL,
)  # fmt: skip

_NAMESPACES = (
    text("share", "What the containers share: ipc, net, pid, uts, or none", metavar="KINDS"),
    text("userns", "User namespace of all containers: host, keep-id[:uid=N,gid=N], nomap",
         metavar="MODE"),
    many("uidmap", "Map user ids of all containers: CONTAINER:FROM:COUNT",
         metavar="MAP"),
    many("gidmap", "Map group ids of all containers", metavar="MAP"),
    text("pid", "Process namespace, when it is shared: private or host", default="private",
         choices=("private", "host"), metavar="MODE"),
    text("uts", "Host name namespace: private or host", default="private",
         choices=("private", "host"), metavar="MODE"),
    number("shm-size", "Size of the shared /dev/shm: NUMBER[b|k|m|g]; 0 has no limit",
           default=64 << 20, metavar="SIZE", kind="size"),
)  # fmt: skip

_MEMBERS = (
    many("volume", "Mount into every container", short="v", metavar="SOURCE:TARGET[:OPTIONS]",
         objects=FILES),
    many("volumes-from", "Mount what another container has mounted", metavar="CONTAINER[:OPTIONS]",
         kind=COMMAS),
    many("device", "Give a device of the host to every container", metavar="PATH[:TARGET[:rwm]]",
         kind=COMMAS, objects=FILES),
    many("security-opt", "Security option of every container", metavar="OPTION"),
    text("cgroup-parent", "Slice, or with cgroupfs directory, for the containers' cgroups",
         default="", metavar="NAME"),
    text("restart", "Restart policy of containers that have none of their own", default="",
         metavar="POLICY"),
)  # fmt: skip


def _each(verb: str, about: str, *options: object, example: str) -> Command:
    """Describe a command that does one thing to pods."""
    return Command(
        f"pod {verb}",
        about,
        f"pod:{verb}",
        options,  # type: ignore[arg-type]  # all are options
        (_PODS,),
        examples=(example,),
    )


COMMANDS = (
    Command(
        "pod create",
        "Make a pod",
        "pod:create",
        (
            text("name", "Name of the pod", short="n"),
            flag("replace", "Remove a pod of the same name, with its containers, first"),
            many("label", "Attach a label", short="l", metavar="KEY=VALUE"),
            many(
                "label-file",
                "Read labels, KEY=VALUE lines, from a file",
                metavar="FILE",
                kind=COMMAS,
                objects=FILES,
            ),
            text("hostname", "Host name of all containers; the pod's name by default", short="h"),
            text(
                "exit-policy",
                "What happens when the last container ends: continue, or stop",
                default="continue",
                metavar="POLICY",
            ),
            text(
                "pod-id-file",
                "Write the pod's id to a file that must not exist",
                metavar="FILE",
                objects=FILES,
            ),
            flag("infra", "Keep the namespaces by an infra container", default=True),
            text(
                "infra-image",
                "Image of the infra container; none is needed",
                metavar="IMAGE",
                objects=IMAGES,
            ),
            text(
                "infra-command",
                "Command of the infra container; with --infra-image",
                metavar="COMMAND",
            ),
            text("infra-name", "Name of the infra container"),
            text(
                "infra-conmon-pidfile",
                "Accepted; there is no conmon",
                metavar="FILE",
                objects=FILES,
            ),
            flag("share-parent", "Accepted; a cgroup is each container's own", default=True),
            *_NAMESPACES,
            *_NETWORK,
            *_MEMBERS,
        ),
        (Argument("pod_name", 0, 1, "[NAME]"),),
        description="Prints the id. The containers of a pod share its network, ports, host name "
        "and IPC; `run --pod NAME` puts one in. The infra container holds what is shared; it needs "
        "no image and a few pages of memory.",
        examples=("rpod pod create --name app -p 8080:80",),
    ),
    Command(
        "pod clone",
        "Make a pod with the settings of another, and containers like its containers",
        "pod:clone",
        (
            flag("destroy", "Remove the other pod then, running or not"),
            text("name", "Name of the new pod", short="n"),
            flag("start", "Start the new pod"),
            text("hostname", "Host name of all containers", short="h"),
            text("infra-name", "Name of the infra container"),
            text(
                "infra-command",
                "Command of the infra container, where it has an image",
                metavar="COMMAND",
            ),
            text(
                "infra-conmon-pidfile",
                "Accepted; there is no conmon",
                metavar="FILE",
                objects=FILES,
            ),
            many("label", "Attach a label", short="l", metavar="KEY=VALUE"),
            many(
                "label-file",
                "Read labels, KEY=VALUE lines, from a file",
                metavar="FILE",
                kind=COMMAS,
                objects=FILES,
            ),
            _SYSCTL,
            *_NAMESPACES[1:],
            *_MEMBERS[:-1],
        ),
        (Argument("pod", objects=PODS), Argument("new_name", 0, 1, "[NAME]")),
        description="Files and anonymous volumes begin anew; published ports are the same, so only "
        "one of both can run where they are fixed. Without a name it is called NAME-clone. Prints "
        "the id.",
        examples=("rpod pod clone --start app app2",),
    ),
    _each(
        "start",
        "Start pods: init containers first, then all others",
        flag("all", "Start every pod"),
        _LATEST,
        _ID_FILE,
        example="rpod pod start app",
    ),
    _each(
        "stop",
        "Stop all containers of pods",
        flag("all", "Stop every pod", short="a"),
        _IGNORE,
        _LATEST,
        _ID_FILE,
        _TIME,
        example="rpod pod stop -t 2 app",
    ),
    _each(
        "restart",
        "Stop pods and start them again",
        flag("all", "Restart every pod", short="a"),
        _LATEST,
        example="rpod pod restart app",
    ),
    _each(
        "kill",
        "Send a signal to all containers of pods",
        flag("all", "Signal every pod", short="a"),
        _LATEST,
        text("signal", "Signal", short="s", default="KILL", metavar="SIGNAL"),
        example="rpod pod kill -s HUP app",
    ),
    _each(
        "pause",
        "Stop all processes of pods for a while",
        flag("all", "Pause every pod", short="a"),
        _LATEST,
        example="rpod pod pause app",
    ),
    _each(
        "unpause",
        "Let paused pods go on",
        flag("all", "Let every pod go on", short="a"),
        _LATEST,
        example="rpod pod unpause app",
    ),
    Command(
        "pod rm",
        "Remove pods with their containers",
        "pod:remove",
        (
            flag("all", "Remove every pod", short="a"),
            flag("force", "Stop what runs first, do not mind missing pods", short="f"),
            _IGNORE,
            _LATEST,
            _ID_FILE,
            _TIME,
        ),
        (_PODS,),
        aliases=("pod remove",),
        description="Exit code 1 when a pod does not exist, 2 when a container of it runs.",
        examples=("rpod pod rm -f app",),
    ),
    Command(
        "pod prune",
        "Remove all pods that have ended",
        "pod:prune",
        (flag("force", "Do not ask", short="f"),),
        examples=("rpod pod prune -f",),
    ),
    Command(
        "pod exists",
        "Exit with 0 when a pod exists, with 1 when not",
        "pod:exists",
        (),
        (Argument("pod", objects=PODS),),
        examples=("rpod pod exists app || rpod pod create app",),
    ),
    Command(
        "pod ps",
        "List pods",
        "pod_list:ps",
        (
            flag("ctr-ids", "Show the containers' ids"),
            flag("ctr-names", "Show the containers' names"),
            flag("ctr-status", "Show the containers' states"),
            many(
                "filter",
                "Show only what matches: id, name, label, status, ctr-ids, ctr-names, "
                "ctr-number, ctr-status, network, until",
                short="f",
                metavar="KEY=VALUE",
                kind=COMMAS,
            ),
            _FORMAT,
            flag("latest", "Show the pod made last", short="l"),
            flag("no-trunc", "Show everything in full"),
            flag("noheading", "No headings", short="n"),
            flag("ns", "Show the namespaces that are shared"),
            flag("quiet", "Only ids", short="q"),
            text(
                "sort",
                "Order",
                default="created",
                choices=("created", "id", "name", "number", "status"),
            ),
        ),
        aliases=("pod ls", "pod list"),
        examples=("rpod pod ps", "rpod pod ps --ctr-names --filter status=running"),
    ),
    Command(
        "pod inspect",
        "Show everything about pods",
        "pod_list:inspect",
        (
            text("format", "json or a Go template", short="f", default="json", metavar="FORMAT"),
            _LATEST,
        ),
        (_PODS,),
        description="One pod is printed as an object, several as an array.",
        examples=("rpod pod inspect -f '{{.State}}' app",),
    ),
    Command(
        "pod logs",
        "Show what the containers of a pod have printed",
        "pod_list:logs",
        (
            flag("color", "Give each container a color"),
            text("container", "Only this container", short="c", metavar="NAME"),
            flag("follow", "Go on until the containers end", short="f"),
            _LATEST,
            flag(
                "names", "Put the container's name before each line, instead of its id", short="n"
            ),
            text("since", "Only later lines: a time, or a duration like 10m", metavar="TIME"),
            number("tail", "Only the last lines; -1 all", default=-1, metavar="LINES"),
            flag("timestamps", "Put the time before each line", short="t"),
            text("until", "Only earlier lines: a time, or a duration like 10m", metavar="TIME"),
        ),
        (Argument("pod", 0, 1, "POD", PODS),),
        examples=("rpod pod logs -n -f app",),
    ),
    Command(
        "pod top",
        "Show the processes of a pod",
        "pod_list:top",
        (_LATEST,),
        (Argument("words", 0, UNLIMITED, "POD [DESCRIPTOR...]", PODS),),
        interspersed=False,
        examples=("rpod pod top app pid args",),
    ),
    Command(
        "pod stats",
        "Show what the containers of pods use",
        "pod_list:stats",
        (
            flag("all", "Every pod, running or not", short="a"),
            text("format", "Go template, table template, or json", metavar="FORMAT"),
            number("interval", "Seconds between two looks", short="i", default=5),
            _LATEST,
            flag("no-reset", "Do not clear the screen between two looks"),
            flag("no-stream", "Look once"),
            flag("no-trunc", "Show whole ids"),
        ),
        (_PODS,),
        examples=("rpod pod stats --no-stream app",),
    ),
)
