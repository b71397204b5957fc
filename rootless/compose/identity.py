"""What ties containers to a project: docker compose's labels, names, and the hash of a service.

There is no file of state: what exists is what carries these labels.
"""

import hashlib
import json
import os

from rootless.compose.parts import Part
from rootless.version import VERSION
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.project import Project
    from rootless.host.paths import Host
    from storage.containers import ContainerView
    from storage.files import Lock

_PREFIX = "com.docker.compose."
PROJECT = f"{_PREFIX}project"
SERVICE = f"{_PREFIX}service"
NUMBER = f"{_PREFIX}container-number"
ONEOFF = f"{_PREFIX}oneoff"
HASH = f"{_PREFIX}config-hash"
IMAGE = f"{_PREFIX}image"
FILES = f"{_PREFIX}project.config_files"
DIRECTORY = f"{_PREFIX}project.working_dir"
DEPENDS_ON = f"{_PREFIX}depends_on"
REPLACE = f"{_PREFIX}replace"
NETWORK = f"{_PREFIX}network"
VOLUME = f"{_PREFIX}volume"
CONTENT = f"{_PREFIX}content"
_VERSION = f"{_PREFIX}version"
# What of a service does not change a container.
_NOT_IN_HASH = ("build", "depends_on", "develop", "profiles", "pull_policy", "scale", "attach")


class Member(NamedTuple):
    """A container of a project."""

    view: "ContainerView"
    service: str
    number: int
    oneoff: bool

    @property
    def id(self) -> str:
        return self.view.record.id

    @property
    def name(self) -> str:
        return self.view.record.name

    @property
    def is_running(self) -> bool:
        return self.view.status in ("running", "paused", "stopping")


def members(host: "Host", project: str, *, oneoff: bool | None = False) -> list[Member]:
    """Return a project's containers by service and number; `oneoff` None for those of `run` too."""
    from storage.containers import iter_views

    found = []
    for view in iter_views(host.layout):
        labels = view.record.labels
        if labels.get(PROJECT) != project or SERVICE not in labels:
            continue
        is_oneoff = labels.get(ONEOFF) == "True"
        if oneoff is None or is_oneoff is oneoff:
            number = labels.get(NUMBER, "1")
            count = int(number) if number.isdecimal() else 1
            found.append(Member(view, labels[SERVICE], count, is_oneoff))
    found.sort(key=lambda one: (one.service, one.number, one.view.record.created_at))
    return found


def project_lock(host: "Host", project: str) -> "Lock":
    """Return the lock of who makes and removes containers of a project.

    Children of a command that is killed hold it until they have finished what they had begun.
    """
    from storage.files import Lock

    return Lock(host.layout.lock(f"compose-{project}"))


def container_name(project: str, service: str, fields: Part, number: int) -> str:
    """Return the name of a container of a service."""
    return fields.text("container_name") or f"{project}-{service}-{number}"


def image_name(project: str, service: str, fields: Part) -> str:
    """Return the image of a service; one that is only built gets a name of its own."""
    return fields.text("image") or f"{project}-{service}"


def config_hash(project: "Project", service: str) -> str:
    """Return the hash of what a service's containers are made of.

    What its secrets and configs say belongs to it: containers have copies.
    """
    fields = project.services[service]
    kept = {key: value for key, value in fields.raw.items() if key not in _NOT_IN_HASH}
    if deploy := dict(fields.part("deploy").raw):
        deploy.pop("replicas", None)
        kept["deploy"] = deploy
    resources = {}
    for kind, defined in (("secrets", project.secrets), ("configs", project.configs)):
        for one in fields.parts(kind):
            source = one.text("source")
            resources[f"{kind}.{source}"] = _content_hash(defined[source], project.variables)
    names = {key: project.networks[key].text("name") for key in fields.part("networks")}
    names |= {
        f"volume {one.text('source')}": project.volumes[one.text("source")].text("name")
        for one in fields.parts("volumes")
        if one.text("type") == "volume" and "source" in one
    }
    data = json.dumps({"service": kept, "resources": resources, "names": names}, sort_keys=True)
    return hashlib.sha256(data.encode()).hexdigest()


def _content_hash(defined: Part, variables: dict[str, str]) -> str:
    if path := defined.text("file"):
        try:
            if os.path.getsize(path) > 1 << 20:
                return path
            with open(path, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
        except OSError:
            return path
    text = defined.text("content") or variables.get(defined.text("environment"), "")
    return hashlib.sha256(text.encode()).hexdigest()


def labels_of(project: "Project", service: str, number: int, *, oneoff: bool) -> dict[str, str]:
    """Return the labels that tie a container to its service."""
    fields = project.every()[service]
    needs = [
        f"{name}:{how.text('condition', 'service_started')}:{str(how.flag('restart')).lower()}"
        for name, how in fields.part("depends_on").each()
    ]
    return {
        **project_labels(project.name),
        SERVICE: service,
        NUMBER: str(number),
        ONEOFF: "True" if oneoff else "False",
        FILES: ",".join(project.files),
        DIRECTORY: project.directory,
        DEPENDS_ON: ",".join(needs),
    }


def project_labels(project: str) -> dict[str, str]:
    """Return the labels of everything that a project has made."""
    return {PROJECT: project, _VERSION: VERSION}
