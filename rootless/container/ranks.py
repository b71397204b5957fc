"""The first rank of a step on a node: make the container that all ranks share (`--join`)."""

import os

from rootless.container import rank
from rootless.container.environment import add_variables
from rootless.container.launch import MonitorProcess
from rootless.container.personal import is_passed
from rootless.container.rootfs import seccomp_filter
from rootless.container.shell import ANY_SHELL
from rootless.errors import SandboxError
from rootless.linux.procfs import start_time
from rootless.sandbox.capabilities import to_mask
from storage import lightjson as json
from storage.containers import read_config, view
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host
    from rootless.images import OnEvent

ANNOTATION = "dev.rpod.join"
# How many ranks the launcher starts on this node.
_LOCAL_SIZES = (
    "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "PALS_LOCAL_SIZE",
    "SLURM_STEP_TASKS_PER_NODE",
)  # fmt: skip
_CAPABILITIES = ("bounding", "permitted", "effective", "inheritable", "ambient")


class _Line(NamedTuple):
    """What of the command lines of all ranks is the same."""

    prefix: list[str]
    default: tuple[str, ...]
    names_image: bool


def join(
    host: "Host",
    request: "ContainerRequest",
    tag: str,
    words: list[str],
    prefix: list[str],
    on_event: "OnEvent | None" = None,
    *,
    names_image: bool = True,
) -> None:
    """Join the ranks of this step, or be the first; then become the program. Never returns.

    `words` is the command line, `prefix` what of it comes before the command; `names_image` tells
    that what comes next can only be a command.
    Raises what making and starting a container raises.
    """
    environ = dict(os.environ)
    held = environ.pop(rank.LOCK_VARIABLE, "").split(",")
    if len(held) == 2:
        place, lock = int(held[0]), int(held[1])
    else:
        place, lock = rank.enter_place(rank.step_tag(tag, environ))
    record = rank.find_record(place, words)
    if record is None:
        default = request.command if len(prefix) == len(words) else ANY_SHELL
        line = _Line(prefix, default, names_image)
        record = _make(host, request, place, line, on_event)
    rank.become_rank(place, lock, record, words, environ)


def expected_ranks(environ: "dict[str, str]") -> int:
    """Return how many ranks this node gets, 0 when nothing says so."""
    for name in _LOCAL_SIZES:
        text = environ.get(name, "").partition("(")[0]
        if text.isdecimal():
            return int(text)
    return 0


def _make(
    host: "Host",
    request: "ContainerRequest",
    place: int,
    line: "_Line",
    on_event: "OnEvent | None",
) -> "dict[str, object]":
    """Start the container with a holder, and publish what the other ranks need."""
    directory = os.readlink(f"/proc/self/fd/{place}")
    name = os.urandom(8).hex()
    expected = expected_ranks(dict(os.environ))
    shared = request._replace(
        pid="host",
        tty=False,
        interactive=False,
        detach=True,
        root_emulation="off",
        join=json.dumps([directory, name, expected, os.getppid()]),
    )
    from rootless.container.create import create
    from rootless.container.frames import StartOptions

    with MonitorProcess(host, attach=False) as monitor:
        record = create(host, shared, on_event)
        made = view(host.layout, record)
        if monitor.launch(host, made, StartOptions(attach=False)) is not None:
            monitor.wait_started()
    started = view(host.layout, record)
    raw = read_config(made.paths)
    if not started.state.pid:
        raise SandboxError("--join: the container of the ranks has ended")
    document = _document(request, raw, started.state.pid, made.paths.directory, line)
    rank.publish_record(place, name, document)
    return {**document, "name": name}


def _document(
    request: "ContainerRequest",
    raw: "dict[str, object]",
    pid: int,
    directory: str,
    line: "_Line",
) -> "dict[str, object]":
    process = raw["process"]
    assert isinstance(process, dict)
    user, capabilities = process["user"], process["capabilities"]
    given: dict[str, str] = {}
    add_variables(given, request.env, request.env_file, os.environ)
    env = dict(entry.split("=", 1) for entry in process["env"])
    # What the first rank alone has is not for the others.
    own = {
        name: value
        for name, value in env.items()
        if name not in given and (not is_passed(name) or os.environ.get(name) != value)
    }
    return {
        "version": 1,
        "prefix": line.prefix,
        "names_image": line.names_image,
        "command": list(line.default),
        "pid": pid,
        "start": start_time(pid),
        "uid": user["uid"],
        "gid": user["gid"],
        "home": env.get("HOME", "/"),
        "env": own,
        "given": given,
        "no_new_privileges": process["noNewPrivileges"],
        "seccomp": seccomp_filter(raw, directory).hex(),
        **{name: to_mask(capabilities[name]) for name in _CAPABILITIES},
    }
