"""The commands and options of rpod as plain tuples, and where each command is described.

Two readers share them: `rootless.cli.fast` parses an argument vector in microseconds, and
`rootless.cli.clickapp` makes real click commands for help, usage errors and completion.
"""

from storage.record import NamedTuple

BOOL = "bool"
TEXT = "text"
INTEGER = "integer"
SIZE = "size"
LIST = "list"
COMMAS = "commas"

# What a name on the command line stands for: completion offers these.
CONTAINERS = "containers"
RUNNING = "running"
IMAGES = "images"
VOLUMES = "volumes"
NETWORKS = "networks"
SECRETS = "secrets"
PODS = "pods"
SERVICES = "services"
FILES = "files"
DIRECTORIES = "directories"

UNLIMITED = -1


class Option(NamedTuple):
    """One option; `field` is the key of its value, `default` what it is when not given."""

    name: str
    kind: str
    help: str
    short: str
    default: object
    metavar: str
    choices: tuple[str, ...]
    aliases: tuple[str, ...]
    objects: str
    field: str


class Argument(NamedTuple):
    """Positional words; `most` is UNLIMITED for any number."""

    name: str
    least: int = 1
    most: int = 1
    metavar: str = ""
    objects: str = ""


class Command(NamedTuple):
    """One command under its full name; `handler` is "module:function" below rootless.cli.commands.

    With `interspersed` options may follow the arguments; without, the first argument ends them.
    """

    name: str
    help: str
    handler: str
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    interspersed: bool = True
    aliases: tuple[str, ...] = ()
    description: str = ""
    examples: tuple[str, ...] = ()


def flag(
    name: str,
    about: str,
    *,
    short: str = "",
    default: bool | None = False,
    aliases: tuple[str, ...] = (),
) -> Option:
    """Describe a switch; --NAME=false turns it off."""
    return Option(name, BOOL, about, short, default, "", (), aliases, "", name.replace("-", "_"))


def text(
    name: str,
    about: str,
    *,
    short: str = "",
    default: str | None = None,
    metavar: str = "STRING",
    choices: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    objects: str = "",
) -> Option:
    """Describe an option with one word, the last one counts."""
    field = name.replace("-", "_")
    return Option(name, TEXT, about, short, default, metavar, choices, aliases, objects, field)


def number(
    name: str,
    about: str,
    *,
    short: str = "",
    default: int | None = None,
    metavar: str = "INTEGER",
    kind: str = INTEGER,
    aliases: tuple[str, ...] = (),
) -> Option:
    """Describe an option with a whole number, or with a size when `kind` is SIZE."""
    field = name.replace("-", "_")
    return Option(name, kind, about, short, default, metavar, (), aliases, "", field)


def many(
    name: str,
    about: str,
    *,
    short: str = "",
    metavar: str = "STRING",
    kind: str = LIST,
    choices: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    objects: str = "",
) -> Option:
    """Describe an option that may be repeated; with COMMAS each value is a list by itself."""
    field = name.replace("-", "_")
    return Option(name, kind, about, short, (), metavar, choices, aliases, objects, field)


GLOBALS = (
    text("root", "Directory of the store: images, containers, volumes", metavar="DIR",
         objects=DIRECTORIES),
    text("runroot", "Directory for what runs: locks, sockets", metavar="DIR", objects=DIRECTORIES),
    text("log-level", "Say more about what goes wrong", default="warn",
         choices=("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")),
    text("storage-driver", "How a container's root is made",
         choices=("overlay", "fuse-overlayfs", "copy", "vfs")),
    text("cgroup-manager", "Who makes cgroups: systemd, or rpod itself in a delegated one",
         choices=("cgroupfs", "systemd")),
    text("runtime", "Accepted; rpod runs containers itself", metavar="PATH"),
    flag("version", "Print the version", short="v"),
)  # fmt: skip

# podman takes its global options after the command too.
PERSISTENT = GLOBALS[:-1]

GROUPS = {
    "builder": "Manage what builds keep",
    "buildx": "Build images, by docker's name for it",
    "compose": "Run applications of several containers that a compose file describes",
    "container": "Manage containers",
    "healthcheck": "Check the health of containers",
    "generate": "Make units of systemd",
    "image": "Manage images",
    "kube": "Play documents of Kubernetes, and write them",
    "manifest": "Manage indexes of images",
    "network": "Manage networks of containers",
    "play": "Play documents of Kubernetes",
    "secret": "Manage secrets",
    "pod": "Manage pods: containers that share namespaces",
    "system": "Look at rpod and this host",
    "volume": "Manage volumes",
}

_RUN = "spec_run"
_CONTAINER = "spec_container"
_FILES = "spec_files"
_LIST = "spec_list"
_IMAGE = "spec_image"
_CONTENT = "spec_image_content"
_REGISTRY = "spec_registry"
_VOLUME = "spec_volume"
_NETWORK = "spec_network"
_SECRET = "spec_secret"  # noqa: S105 - a module
_POD = "spec_pod"
_KUBE = "spec_kube"
_COMPOSE = "spec_compose"
_COMPOSED = "spec_compose_container"
_SYSTEM = "spec_system"
_BUILD = "spec_build"
_LIMITS = "spec_limits"
_SYSTEMD = "spec_systemd"
_SPACE = "spec_space"
_MANIFEST = "spec_manifest"
_EXPLAIN = "spec_explain"
_SHELL = "spec_shell"

# Full name or alias -> (module below rootless.cli, the name that the command has there).
INDEX: dict[str, tuple[str, str]] = {
    "build": (_BUILD, "build"),
    "image build": (_BUILD, "build"),
    "builder build": (_BUILD, "build"),
    "buildx build": (_BUILD, "build"),
    "builder prune": (_SPACE, "builder prune"),
    "run": (_RUN, "run"),
    "create": (_RUN, "create"),
    "exec": (_RUN, "exec"),
    "shell": (_SHELL, "shell"),
    "start": (_CONTAINER, "start"),
    "init": (_CONTAINER, "init"),
    "stop": (_CONTAINER, "stop"),
    "restart": (_CONTAINER, "restart"),
    "kill": (_CONTAINER, "kill"),
    "rm": (_CONTAINER, "rm"),
    "attach": (_CONTAINER, "attach"),
    "logs": (_CONTAINER, "logs"),
    "wait": (_CONTAINER, "wait"),
    "port": (_CONTAINER, "port"),
    "top": (_CONTAINER, "top"),
    "mount": (_FILES, "mount"),
    "unmount": (_FILES, "unmount"),
    "umount": (_FILES, "unmount"),
    "cp": (_FILES, "cp"),
    "commit": (_FILES, "commit"),
    "diff": (_FILES, "diff"),
    "export": (_FILES, "export"),
    "rename": (_FILES, "rename"),
    "update": (_LIMITS, "update"),
    "stats": (_LIMITS, "stats"),
    "pause": (_LIMITS, "pause"),
    "unpause": (_LIMITS, "unpause"),
    "container update": (_LIMITS, "update"),
    "container clone": (_LIMITS, "container clone"),
    "container stats": (_LIMITS, "stats"),
    "container pause": (_LIMITS, "pause"),
    "container unpause": (_LIMITS, "unpause"),
    "generate systemd": (_SYSTEMD, "generate systemd"),
    "quadlet": (_SYSTEMD, "quadlet"),
    "auto-update": (_SYSTEMD, "auto-update"),
    "ps": (_LIST, "ps"),
    "images": (_LIST, "images"),
    "inspect": (_LIST, "inspect"),
    "pull": (_IMAGE, "pull"),
    "load": (_IMAGE, "load"),
    "import": (_IMAGE, "import"),
    "push": (_REGISTRY, "push"),
    "search": (_REGISTRY, "search"),
    "login": (_REGISTRY, "login"),
    "logout": (_REGISTRY, "logout"),
    "rmi": (_IMAGE, "rmi"),
    "save": (_CONTENT, "save"),
    "history": (_CONTENT, "history"),
    "tag": (_IMAGE, "tag"),
    "untag": (_IMAGE, "untag"),
    "info": (_SYSTEM, "info"),
    "version": (_SYSTEM, "version"),
    "unshare": (_SYSTEM, "unshare"),
    "doctor": (_SYSTEM, "doctor"),
    "completion": (_SYSTEM, "completion"),
    "container run": (_RUN, "run"),
    "container create": (_RUN, "create"),
    "container exec": (_RUN, "exec"),
    "container start": (_CONTAINER, "start"),
    "container init": (_CONTAINER, "init"),
    "container stop": (_CONTAINER, "stop"),
    "container restart": (_CONTAINER, "restart"),
    "container kill": (_CONTAINER, "kill"),
    "container rm": (_CONTAINER, "rm"),
    "container attach": (_CONTAINER, "attach"),
    "container logs": (_CONTAINER, "logs"),
    "container wait": (_CONTAINER, "wait"),
    "container port": (_CONTAINER, "port"),
    "container top": (_CONTAINER, "top"),
    "explain": (_EXPLAIN, "explain"),
    "events": (_SYSTEM, "events"),
    "system events": (_SYSTEM, "events"),
    "healthcheck run": (_CONTAINER, "healthcheck run"),
    "container exists": (_CONTAINER, "container exists"),
    "container prune": (_CONTAINER, "container prune"),
    "container mount": (_FILES, "mount"),
    "container unmount": (_FILES, "unmount"),
    "container umount": (_FILES, "unmount"),
    "container cp": (_FILES, "cp"),
    "container commit": (_FILES, "commit"),
    "container diff": (_FILES, "diff"),
    "container export": (_FILES, "export"),
    "container rename": (_FILES, "rename"),
    "container ls": (_LIST, "ps"),
    "container list": (_LIST, "ps"),
    "container ps": (_LIST, "ps"),
    "container inspect": (_LIST, "container inspect"),
    "image ls": (_LIST, "images"),
    "image list": (_LIST, "images"),
    "image inspect": (_LIST, "image inspect"),
    "image pull": (_IMAGE, "pull"),
    "image load": (_IMAGE, "load"),
    "image import": (_IMAGE, "import"),
    "image push": (_REGISTRY, "push"),
    "image search": (_REGISTRY, "search"),
    "image save": (_CONTENT, "save"),
    "image history": (_CONTENT, "history"),
    "image diff": (_CONTENT, "image diff"),
    "image mount": (_CONTENT, "image mount"),
    "image unmount": (_CONTENT, "image unmount"),
    "image umount": (_CONTENT, "image unmount"),
    "image tree": (_CONTENT, "image tree"),
    "image publish": (_CONTENT, "image publish"),
    "image squash": (_CONTENT, "image squash"),
    "image trust": (_CONTENT, "image trust"),
    "image scp": (_CONTENT, "image scp"),
    "image send": (_CONTENT, "image send"),
    "image receive": (_CONTENT, "image receive"),
    "image rm": (_IMAGE, "rmi"),
    "image remove": (_IMAGE, "rmi"),
    "image tag": (_IMAGE, "tag"),
    "image untag": (_IMAGE, "untag"),
    "image exists": (_IMAGE, "image exists"),
    "image prune": (_IMAGE, "image prune"),
    "manifest create": (_MANIFEST, "manifest create"),
    "manifest add": (_MANIFEST, "manifest add"),
    "manifest annotate": (_MANIFEST, "manifest annotate"),
    "manifest inspect": (_MANIFEST, "manifest inspect"),
    "manifest exists": (_MANIFEST, "manifest exists"),
    "manifest push": (_MANIFEST, "manifest push"),
    "manifest remove": (_MANIFEST, "manifest remove"),
    "manifest rm": (_MANIFEST, "manifest rm"),
    "volume create": (_VOLUME, "volume create"),
    "volume ls": (_VOLUME, "volume ls"),
    "volume list": (_VOLUME, "volume ls"),
    "volume inspect": (_VOLUME, "volume inspect"),
    "volume rm": (_VOLUME, "volume rm"),
    "volume remove": (_VOLUME, "volume rm"),
    "volume prune": (_VOLUME, "volume prune"),
    "volume export": (_VOLUME, "volume export"),
    "volume import": (_VOLUME, "volume import"),
    "volume exists": (_VOLUME, "volume exists"),
    "volume mount": (_VOLUME, "volume mount"),
    "volume unmount": (_VOLUME, "volume unmount"),
    "network create": (_NETWORK, "network create"),
    "network ls": (_NETWORK, "network ls"),
    "network list": (_NETWORK, "network ls"),
    "network inspect": (_NETWORK, "network inspect"),
    "network rm": (_NETWORK, "network rm"),
    "network remove": (_NETWORK, "network rm"),
    "network prune": (_NETWORK, "network prune"),
    "network exists": (_NETWORK, "network exists"),
    "network update": (_NETWORK, "network update"),
    "network connect": (_NETWORK, "network connect"),
    "network disconnect": (_NETWORK, "network disconnect"),
    "network reload": (_NETWORK, "network reload"),
    "secret create": (_SECRET, "secret create"),
    "secret ls": (_SECRET, "secret ls"),
    "secret list": (_SECRET, "secret ls"),
    "secret inspect": (_SECRET, "secret inspect"),
    "secret rm": (_SECRET, "secret rm"),
    "secret remove": (_SECRET, "secret rm"),
    "secret exists": (_SECRET, "secret exists"),
    "kube play": (_KUBE, "kube play"),
    "play kube": (_KUBE, "kube play"),
    "kube down": (_KUBE, "kube down"),
    "kube generate": (_KUBE, "kube generate"),
    "generate kube": (_KUBE, "kube generate"),
    "compose up": (_COMPOSE, "compose up"),
    "compose down": (_COMPOSE, "compose down"),
    "compose create": (_COMPOSE, "compose create"),
    "compose config": (_COMPOSE, "compose config"),
    "compose convert": (_COMPOSE, "compose config"),
    "compose ps": (_COMPOSE, "compose ps"),
    "compose ls": (_COMPOSE, "compose ls"),
    "compose logs": (_COMPOSE, "compose logs"),
    "compose version": (_COMPOSE, "compose version"),
    "compose exec": (_COMPOSED, "compose exec"),
    "compose run": (_COMPOSED, "compose run"),
    "compose attach": (_COMPOSED, "compose attach"),
    "compose start": (_COMPOSED, "compose start"),
    "compose stop": (_COMPOSED, "compose stop"),
    "compose restart": (_COMPOSED, "compose restart"),
    "compose kill": (_COMPOSED, "compose kill"),
    "compose rm": (_COMPOSED, "compose rm"),
    "compose pause": (_COMPOSED, "compose pause"),
    "compose unpause": (_COMPOSED, "compose unpause"),
    "compose scale": (_COMPOSED, "compose scale"),
    "compose wait": (_COMPOSED, "compose wait"),
    "compose port": (_COMPOSED, "compose port"),
    "compose top": (_COMPOSED, "compose top"),
    "compose stats": (_COMPOSED, "compose stats"),
    "compose events": (_COMPOSED, "compose events"),
    "compose volumes": (_COMPOSED, "compose volumes"),
    "compose cp": (_COMPOSED, "compose cp"),
    "compose build": (_COMPOSED, "compose build"),
    "compose pull": (_COMPOSED, "compose pull"),
    "compose push": (_COMPOSED, "compose push"),
    "compose images": (_COMPOSED, "compose images"),
    "pod create": (_POD, "pod create"),
    "pod clone": (_POD, "pod clone"),
    "pod start": (_POD, "pod start"),
    "pod stop": (_POD, "pod stop"),
    "pod restart": (_POD, "pod restart"),
    "pod kill": (_POD, "pod kill"),
    "pod pause": (_POD, "pod pause"),
    "pod unpause": (_POD, "pod unpause"),
    "pod rm": (_POD, "pod rm"),
    "pod remove": (_POD, "pod rm"),
    "pod prune": (_POD, "pod prune"),
    "pod exists": (_POD, "pod exists"),
    "pod ps": (_POD, "pod ps"),
    "pod ls": (_POD, "pod ps"),
    "pod list": (_POD, "pod ps"),
    "pod inspect": (_POD, "pod inspect"),
    "pod logs": (_POD, "pod logs"),
    "pod top": (_POD, "pod top"),
    "pod stats": (_POD, "pod stats"),
    "system info": (_SYSTEM, "info"),
    "system service": (_SYSTEM, "system service"),
    "system df": (_SPACE, "system df"),
    "system check": (_SPACE, "system check"),
    "system prune": (_SPACE, "system prune"),
    "system reset": (_SPACE, "system reset"),
}


def group_options(noun: str) -> tuple[Option, ...]:
    """Return the options that stand between a noun and its command."""
    if noun != "compose":
        return ()
    options: tuple[Option, ...] = __import__(
        "rootless.cli.spec_compose", fromlist=["GROUP_OPTIONS"]
    ).GROUP_OPTIONS
    return options


def find_command(name: str) -> Command | None:
    """Return the command with this full name or alias; None when there is none."""
    place = INDEX.get(name)
    if place is None:
        return None
    module, canonical = place
    # importlib costs a millisecond that every command would pay; __import__ is what it calls.
    commands: tuple[Command, ...] = __import__(
        f"rootless.cli.{module}", fromlist=["COMMANDS"]
    ).COMMANDS
    for command in commands:
        if command.name == canonical:
            return command
    raise LookupError(f"{module} does not describe {canonical}")
