"""`compose run`: a container of a service for one command, beside those that `up` makes."""

import os

from rootless.compose import converge, identity, replicas, resources
from rootless.compose.conditions import wait_for_dependencies
from rootless.compose.given import Given
from rootless.compose.translate import make_request
from storage import lightjson as json
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host


class OneOff(NamedTuple):
    """What `compose run` was given; None and empty for what it was not."""

    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    name: str = ""
    env: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    detach: bool = False
    interactive: bool = True
    tty: bool = False
    rm: bool = False
    service_ports: bool = False
    use_aliases: bool = False


def start_dependencies(
    host: "Host", project: "Project", service: str, tell: "Tell", at_once: int = 0
) -> None:
    """Start what a service depends on, and wait until it is as the service needs it."""
    needed = project.only(name for name in project.services if name != service)
    options = converge.UpOptions(recreate=converge.NEVER, targets=(), at_once=at_once)
    converge.create_all(host, needed, options, tell)
    converge.start_all(host, needed, options, tell)
    wait_for_dependencies(host, project, project.services[service], tell)


def make_one_off(
    host: "Host", project: "Project", service: str, wanted: OneOff, tell: "Tell"
) -> "ContainerRequest":
    """Make the networks and volumes of a service, and return the request for the container.

    Raises ComposeError.
    """
    alone = project.only([service])
    resources.check_external(host, alone)
    resources.make_networks(host, alone, tell)
    resources.make_volumes(host, alone, tell)
    contents = resources.keep_contents(host, alone, [service])
    owners = replicas.owners_of(host, project.name)
    given = Given(owners, {}, contents, wanted.use_aliases, wanted.service_ports)
    fields = project.services[service]
    request = make_request(project, service, given)
    labels = {
        **fields.words("labels"),
        **identity.labels_of(project, service, 1, oneoff=True),
    }
    name = wanted.name or f"{project.name}-{service}-run-{os.urandom(6).hex()}"
    values: dict[str, object] = {
        "image": identity.image_name(project.name, service, fields),
        "name": name,
        "label": (*(f"{key}={value}" for key, value in labels.items()), *wanted.labels),
        "env": (*request.env, *wanted.env),
        "env_file": wanted.env_files,
        "publish": (*request.publish, *wanted.publish),
        "volume": (*request.volume, *wanted.volumes),
        "cap_add": (*request.cap_add, *wanted.cap_add),
        "cap_drop": (*request.cap_drop, *wanted.cap_drop),
        "restart": "",
        "detach": wanted.detach,
        "interactive": wanted.interactive and not wanted.detach,
        "tty": wanted.tty,
        "rm": wanted.rm,
        "user": wanted.user or request.user,
        "workdir": wanted.workdir or request.workdir,
    }
    if wanted.command:
        values["command"] = wanted.command
    if wanted.entrypoint is not None:
        import shlex

        words = shlex.split(wanted.entrypoint)
        values["entrypoint"] = json.dumps(words) if words else ""
        values["command"] = wanted.command
    return request._replace(**values)  # type: ignore[arg-type]  # its own fields
