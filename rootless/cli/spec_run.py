"""Commands that start a process in a container: run, create, exec.

The options of `run` are the fields of `rootless.container.request.ContainerRequest`, those of
`exec` the fields of `ExecRequest`.
"""

from rootless.cli.limit_options import resource_options
from rootless.cli.table import (
    COMMAS,
    CONTAINERS,
    DIRECTORIES,
    FILES,
    IMAGES,
    NETWORKS,
    PODS,
    RUNNING,
    SECRETS,
    SIZE,
    UNLIMITED,
    Argument,
    Command,
    Option,
    flag,
    many,
    number,
    text,
)

_INTERACTIVE = flag("interactive", "Keep standard input open", short="i")
_TTY = flag("tty", "Give the process a terminal", short="t")
_ENV = many("env", "Set an environment variable; NAME alone copies the caller's, NAME* all that "
            "begin so", short="e", metavar="NAME=VALUE")  # fmt: skip
_ENV_FILE = many("env-file", "Read NAME=VALUE lines from a file", metavar="FILE", kind=COMMAS,
                 objects=FILES)  # fmt: skip
_DETACH_KEYS = text("detach-keys", "Keys that leave the container running and end the client",
                    default="ctrl-p,ctrl-q", metavar="KEYS")  # fmt: skip
_PRESERVE_FDS = number("preserve-fds", "Give the process this many of the caller's descriptors, "
                       "from 3 on", default=0, metavar="N")  # fmt: skip
_LATEST = flag("latest", "Take the container made last", short="l")

_IDENTITY = (
    text("name", "Name of the container"),
    text("pod", "Make it in a pod; new:NAME makes the pod, too", metavar="POD", objects=PODS),
    text("pod-id-file", "Make it in the pod whose id is in a file", metavar="FILE", objects=FILES),
    text("hostname", "Host name inside; the short id by default", short="h"),
    text("user", "User, and group, of the process: NAME|UID[:GROUP|GID]", short="u",
         metavar="USER[:GROUP]"),
    text("userns", "User namespace: host (you are root inside), keep-id[:uid=,gid=,size=], nomap, "
         "auto[:size=,uidmapping=,gidmapping=], container:NAME", default="host", metavar="MODE"),
    many("uidmap", "Map user ids; FROM 0 is you, 1 and on are your subordinate ids, @ID the host's",
         metavar="[FLAGS]CONTAINER:FROM[:AMOUNT]"),
    many("gidmap", "Map group ids likewise; what is not given is as --uidmap says",
         metavar="[FLAGS]CONTAINER:FROM[:AMOUNT]"),
    text("root-emulation", "With a single id: let programs see root that may change owners and ids;"
         " full: stat too; auto is full for package managers and for images with a service's data",
         default="auto", choices=("auto", "full", "bpf", "off")),
    many("group-add", "Further groups of the process", metavar="GROUP", kind=COMMAS),
    _ENV,
    _ENV_FILE,
    flag("env-host", "Pass the caller's whole environment"),
    flag("http-proxy", "Pass the caller's proxy variables", default=True),
    many("env-merge", "Set a variable from the image's: NAME=${OTHER}text", metavar="NAME=VALUE"),
    many("unsetenv", "Drop a variable that the image or rpod sets", metavar="NAME"),
    flag("unsetenv-all", "Drop all variables that the image and rpod set"),
    text("entrypoint", "Replace the image's entry point: a program or a JSON array; also drops "
         "the image's command", metavar="COMMAND"),
    text("workdir", "Working directory; made when it is missing", short="w", metavar="DIR"),
    text("umask", "File mode creation mask, octal", default="0022", metavar="MASK"),
    text("tz", "Time zone, such as Europe/Paris; local for the host's", metavar="ZONE"),
    many("hostuser", "Add a user of the host to /etc/passwd and /etc/group", metavar="USER"),
    flag("passwd", "Add the user to /etc/passwd where the image lacks it", default=True),
    text("passwd-entry", "The line for /etc/passwd; $USERNAME $UID $GID $NAME $HOME are filled in",
         metavar="LINE"),
    text("group-entry", "The line for /etc/group; $GROUPNAME $GID $USERLIST are filled in",
         metavar="LINE"),
    many("label", "Attach a label", short="l", metavar="KEY=VALUE"),
    many("label-file", "Read labels, KEY=VALUE lines, from a file", metavar="FILE", kind=COMMAS,
         objects=FILES),
    many("annotation", "Attach an annotation", metavar="KEY=VALUE", kind=COMMAS),
)  # fmt: skip

_LIFE = (
    many("attach", "Connect only this stream, instead of all: stdin (with -i), stdout, stderr",
         short="a", metavar="STREAM", choices=("stdin", "stdout", "stderr")),
    _INTERACTIVE,
    _TTY,
    flag("rm", "Remove the container when it ends"),
    flag("replace", "Remove a container of the same name first"),
    flag("init", "Run a small init that passes signals on and reaps processes"),
    text("stop-signal", "Signal that asks the container to stop", metavar="SIGNAL"),
    number("stop-timeout", "Seconds to wait before a stop becomes a kill", default=10,
           metavar="SECONDS"),
    number("timeout", "Seconds after which the container is killed; 0 never", default=0,
           metavar="SECONDS"),
    text("restart", "What happens when it ends: no, always, unless-stopped, on-failure[:RETRIES]",
         default="", metavar="POLICY"),
    many("requires", "Start these containers first", metavar="CONTAINER", kind=COMMAS,
         objects=CONTAINERS),
    text("cidfile", "Write the container's id to a file that must not exist", metavar="FILE",
         objects=FILES),
    text("pidfile", "Write the process id to a file", metavar="FILE", objects=FILES),
    text("systemd", "Prepare for systemd as the command: true where it is, always, or false",
         default="true", choices=("true", "always", "false")),
    text("sdnotify", "When the service is ready: the container says it, conmon (it runs), healthy,"
         " ignore", default="container", choices=("container", "conmon", "healthy", "ignore")),
    text("log-driver", "Where the output goes: a file, systemd's journal, nowhere, or the caller's "
         "own streams", default="k8s-file", metavar="DRIVER",
         choices=("k8s-file", "json-file", "journald", "none", "passthrough")),
    many("log-opt", "path=FILE, max-size=SIZE, max-file=NUMBER, tag=TEXT", metavar="NAME=VALUE"),
)  # fmt: skip

HEALTH_OPTIONS = (
    text("health-cmd", "Command that checks the container: a line for the shell, or a JSON array; "
         "none for no check", metavar="COMMAND"),
    text("health-interval", "Time between checks (30s); disable for none by itself",
         metavar="DURATION"),
    text("health-timeout", "How long a check may take (30s)", metavar="DURATION"),
    number("health-retries", "Failures in a row that make it unhealthy (3)"),
    text("health-start-period", "Time after the start in which failures do not count (0s)",
         metavar="DURATION"),
    text("health-start-interval", "Time between checks in the start period (that of "
         "--health-interval)", metavar="DURATION"),
    text("health-on-failure", "What happens to an unhealthy container", default="none",
         metavar="ACTION", choices=("none", "kill", "restart", "stop")),
    text("health-startup-cmd", "Command that has to pass before the checks begin",
         metavar="COMMAND"),
    text("health-startup-interval", "Time between start-up checks (30s)", metavar="DURATION"),
    text("health-startup-timeout", "How long a start-up check may take (30s)",
         metavar="DURATION"),
    number("health-startup-retries", "Failed start-up checks after which it is restarted; "
           "0 never", default=0),
    number("health-startup-success", "Start-up checks that have to pass; 0 is one", default=0),
    number("health-max-log-count", "Results that are kept; 0 all", default=5),
    number("health-max-log-size", "Characters of output that are kept of each; 0 all",
           default=500),
    flag("no-healthcheck", "No checks, whatever the image says"),
)  # fmt: skip

_ATTACHED = (
    flag("detach", "Print the id and leave the container in the background", short="d"),
    _DETACH_KEYS,
    flag("rmi", "Remove the container when it ends, and its image if nothing else needs it"),
    flag("sig-proxy", "Pass signals on to the process", default=True),
    _PRESERVE_FDS,
    flag("explain", "Show the plan instead: maps, mounts, capabilities, filter, limits, network"),
    flag("explain-json", "Show the plan as JSON"),
)

_IMAGE = (
    text("pull", "When to fetch the image", default="missing",
         choices=("always", "missing", "never", "newer")),
    text("platform", "Platform of the image: OS/ARCH[/VARIANT]", metavar="PLATFORM"),
    text("arch", "Architecture of the image instead of this machine's", metavar="ARCH"),
    text("os", "Operating system of the image instead of this one", metavar="OS"),
    text("variant", "Variant of the architecture", metavar="VARIANT"),
    flag("tls-verify", "Demand HTTPS and a certificate that can be verified", default=None),
    text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
    text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
    text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
         objects=DIRECTORIES),
    number("retry", "Tries after a failed fetch", default=3),
    text("retry-delay", "Time between tries; doubles each time", default="2s",
         metavar="DURATION"),
    flag("disable-content-trust", "Accepted; means nothing here"),
    flag("quiet", "No progress while the image is fetched", short="q"),
)  # fmt: skip

_FILE_SYSTEMS = (
    flag("rootfs", "The image is a directory of the host, DIR or DIR:O for an overlay over it"),
    many("volume", "Mount a host path or a named volume", short="v",
         metavar="SOURCE:TARGET[:OPTIONS]", objects=FILES),
    many("volumes-from", "Mount what another container has mounted", metavar="CONTAINER[:OPTIONS]",
         kind=COMMAS, objects=CONTAINERS),
    text("image-volume", "What the image's volumes become", default="anonymous",
         choices=("anonymous", "bind", "tmpfs", "ignore"), metavar="KIND"),
    many("mount", "Mount by keywords: type=bind|volume|image|tmpfs|ramfs|devpts|glob,source=,"
         "target=,subpath=,...",
         metavar="KEY=VALUE,..."),
    many("tmpfs", "Mount a tmpfs", metavar="TARGET[:OPTIONS]"),
    flag("read-only", "Make the root file system read-only"),
    flag("read-only-tmpfs", "With --read-only: keep /run, /tmp and /var/tmp writable",
         default=True),
    number("shm-size", "Size of /dev/shm: NUMBER[b|k|m|g]; 0 has no limit", default=64 << 20,
           metavar="SIZE", kind=SIZE),
    many("device", "Give a device of the host, or one by its name in the container device "
         "interface", metavar="PATH[:TARGET[:rwm]]|VENDOR/CLASS=NAME", kind=COMMAS,
         objects=FILES),
    text("gpus", "Give GPUs: all, how many, or device=NAME,NAME", metavar="GPUS"),
    many("inject", "Put in what a profile of the site or your own describes", metavar="PROFILE",
         kind=COMMAS),
    many("secret", "Give a secret, as a file or with type=env as a variable: "
         "NAME[,type=,target=,uid=,gid=,mode=]", metavar="SECRET[,OPTION...]", objects=SECRETS),
)  # fmt: skip

_NETWORK = (
    many("network", "Network: slirp4netns[:OPTIONS], pasta, none, host, container:NAME, ns:PATH, or"
         " the name of one made by `network create`, with ip=, ip6=, mac=, alias=,"
         " interface_name=",
         metavar="MODE|NAME[:OPTIONS]", aliases=("net",), objects=NETWORKS),
    many("network-alias", "Further name in the user-defined networks", metavar="NAME"),
    text("ip", "IPv4 address in the user-defined network", metavar="ADDRESS"),
    text("ip6", "IPv6 address in the user-defined network", metavar="ADDRESS"),
    text("mac-address", "Hardware address in the user-defined network", metavar="ADDRESS"),
    many("publish", "Publish a port: [[IP:][HOST]:]CONTAINER[/PROTOCOL]", short="p",
         metavar="PORTS", kind=COMMAS),
    flag("publish-all", "Publish every exposed port on a free one", short="P"),
    many("expose", "Say that a port is served", metavar="PORT[/PROTOCOL]", kind=COMMAS),
    many("dns", "Name server", metavar="ADDRESS", kind=COMMAS),
    many("dns-search", "Search domain", metavar="DOMAIN", kind=COMMAS),
    many("dns-option", "Option for resolv.conf", metavar="OPTION", kind=COMMAS,
         aliases=("dns-opt",)),
    many("add-host", "Add a line to /etc/hosts", metavar="NAME:ADDRESS", kind=COMMAS),
    flag("no-hosts", "Leave the image's /etc/hosts as it is"),
)  # fmt: skip

_SECURITY = (
    many("cap-add", "Add a capability; ALL for every one", metavar="CAPABILITY", kind=COMMAS),
    many("cap-drop", "Drop a capability; ALL for every one", metavar="CAPABILITY", kind=COMMAS),
    flag("privileged", "All capabilities, devices and paths that you have yourself"),
    many("security-opt", "seccomp=FILE|unconfined, no-new-privileges, mask=, unmask=, ...",
         metavar="OPTION"),
    text("pid", "Process namespace: private, host, container:NAME or ns:PATH", default="private",
         metavar="MODE"),
    text("ipc", "IPC namespace: private, host, container:NAME or ns:PATH", default="private",
         metavar="MODE"),
    text("uts", "Host name namespace: private, host, container:NAME or ns:PATH",
         default="private", metavar="MODE"),
    text("cgroupns", "Control group namespace: private or host", default="private",
         metavar="MODE"),
    many("sysctl", "Set a kernel parameter of the container's namespaces", metavar="NAME=VALUE",
         kind=COMMAS),
    many("ulimit", "Set a resource limit; host keeps yours", metavar="NAME=SOFT[:HARD]",
         kind=COMMAS),
    number("oom-score-adj", "Adjust how soon memory shortage kills it (-1000 to 1000)"),
)  # fmt: skip

_LIMITS = (
    text("cgroups", "enabled, disabled, no-monitor, or split: below the cgroup of the caller",
         default="enabled", choices=("enabled", "disabled", "no-monitor", "no-conmon", "split")),
    text("cgroup-parent", "Slice, or with cgroupfs directory, for the container's cgroup",
         default="", metavar="NAME"),
    many("cgroup-conf", "Write a file of the cgroup, such as memory.high=1073741824",
         metavar="FILE=VALUE"),
    text("limits", "strict: a limit that cannot be enforced is an error; best-effort",
         default="strict", choices=("strict", "best-effort")),
    *resource_options(),
)  # fmt: skip

CREATE_OPTIONS: tuple[Option, ...] = (
    *_IDENTITY, *_LIFE, *HEALTH_OPTIONS, *_IMAGE, *_FILE_SYSTEMS, *_NETWORK, *_SECURITY, *_LIMITS,
)  # fmt: skip

_IMAGE_AND_COMMAND = (
    Argument("image", objects=IMAGES),
    Argument("command", 0, UNLIMITED, "[COMMAND [ARG...]]"),
)

COMMANDS = (
    Command(
        "run",
        "Run a command in a new container",
        "run:run",
        (*CREATE_OPTIONS, *_ATTACHED),
        _IMAGE_AND_COMMAND,
        interspersed=False,
        aliases=("container run",),
        description="Makes a container from an image, fetched when it is not here, runs the "
        "command in it, and ends with the command's exit code; 125 when rpod itself fails, 126 "
        "when the command cannot be executed, 127 when it is not there.",
        examples=(
            "rpod run --rm docker.io/library/debian:12 cat /etc/os-release",
            "rpod run -it --rm -v .:/work -w /work debian:12 bash",
            "rpod run -d --name web -p 8080:80 docker.io/library/nginx",
        ),
    ),
    Command(
        "create",
        "Make a container without starting it",
        "run:create",
        (
            *CREATE_OPTIONS,
            text(
                "init-ctr",
                "Run it to its end before the pod's other containers start: always, or"
                " once and then remove it",
                metavar="KIND",
            ),
        ),
        _IMAGE_AND_COMMAND,
        interspersed=False,
        aliases=("container create",),
        description="Takes the options of run and prints the container's id.",
        examples=("rpod create --name job debian:12 sleep 60",),
    ),
    Command(
        "exec",
        "Run a command in a running container",
        "run:exec_command",
        (
            _INTERACTIVE,
            _TTY,
            flag("detach", "Leave the command in the background", short="d"),
            _DETACH_KEYS,
            _ENV,
            _ENV_FILE,
            text("user", "User, and group, of the process", short="u", metavar="USER[:GROUP]"),
            text("workdir", "Working directory", short="w", metavar="DIR"),
            flag("privileged", "Give the process all capabilities"),
            _PRESERVE_FDS,
            _LATEST,
        ),
        (
            Argument("container", objects=RUNNING),
            Argument("command", 0, UNLIMITED, "COMMAND [ARG...]"),
        ),
        interspersed=False,
        aliases=("container exec",),
        description="Ends with the command's exit code; 125 when rpod itself fails, 126 when the "
        "command cannot be executed, 127 when it is not there.",
        examples=("rpod exec -it web sh", "rpod exec -e DEBUG=1 -w /srv web ls -l"),
    ),
)
