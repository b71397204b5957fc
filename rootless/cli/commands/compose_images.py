"""compose pull, push, images: the images of services."""

import time

from rootless.cli.compose_session import Session, run
from rootless.cli.output import Table, write, write_json
from rootless.compose import fetch, identity
from rootless.compose.errors import ComposeError
from rootless.compose.identity import members
from rootless.errors import RootlessError
from rootless.human import ago_text, size_text
from storage.errors import ImageNotFound, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.compose.project import Project

_IMAGES = Table(
    ("CONTAINER", False), ("REPOSITORY", False), ("TAG", False), ("PLATFORM", False),
    ("IMAGE ID", False), ("SIZE", False), ("CREATED", False),
)  # fmt: skip
_SHORT_ID = 12


def _project(session: Session) -> "Project":
    return session.chosen(dependencies=session.invocation.flag("include_deps"))


def pull(invocation: "Invocation") -> int:
    """Fetch images."""
    return run(invocation, _pull)


def _pull(session: Session) -> int:
    invocation = session.invocation
    project = _project(session)
    policies: dict[str, str] = {}
    for name, service in project.services.items():
        can_build = "build" in service
        if can_build and ("image" not in service or invocation.flag("ignore_buildable")):
            continue
        own = service.text("pull_policy")
        if own in ("never", "build"):
            continue
        image = identity.image_name(project.name, name, service)
        if invocation.text("policy") == "missing" and fetch.is_here(session.host, image):
            continue
        policies[name] = "always"
    options = fetch.ImageOptions(
        quiet=invocation.flag("quiet"),
        ignore_failures=invocation.flag("ignore_pull_failures"),
        at_once=session.at_once,
    )
    fetch.pull_images(session.host, project, policies, options, session.tell)
    return 0


def push(invocation: "Invocation") -> int:
    """Send images to their registries."""
    return run(invocation, _push)


def _push(session: Session) -> int:
    project = _project(session)
    names = [name for name, one in project.services.items() if "image" in one and "build" in one]
    push_images(session, project, names)
    return 0


def push_images(session: Session, project: "Project", names: list[str]) -> None:
    """Send the images of services. Raises ComposeError."""
    from rootless.cli.progress import Reporter
    from rootless.pushing import push as send

    invocation = session.invocation
    quiet = invocation.flag("quiet")
    ignore = (
        invocation.command.name == "compose push" and invocation.flag("ignore_push_failures")
    )  # fmt: skip
    for name in names:
        image = identity.image_name(project.name, name, project.services[name])
        session.tell("Image", image, "Pushing")
        try:
            with Reporter(quiet=quiet) as on_event:
                send(session.host, image, None, None, on_event)
        except (RootlessError, StorageError) as error:
            if not ignore:
                raise ComposeError(
                    f"push {image} of service {name}: {error.message}", remedy=error.remedy
                ) from error
            session.host.note(f"push {image}: {error.message}")
            continue
        session.tell("Image", image, "Pushed")


def images(invocation: "Invocation") -> int:
    """List the images of containers."""
    return run(invocation, _images)


def _images(session: Session) -> int:
    from rootless import images as store
    from rootless.human import unix_time

    invocation = session.invocation
    name, project = session.named()
    services = invocation.texts("names")
    if project is not None:
        project.chosen(services, dependencies=False)
    host, now_s = session.host, time.time()
    rows: list[dict[str, object]] = []
    for one in members(host, name):
        if services and one.service not in services:
            continue
        record = one.view.record
        try:
            image = store.find_local(host, record.image_id)
        except ImageNotFound:
            continue
        repository, _, tag = record.image_name.rpartition(":")
        rows.append(
            {
                "ID": record.image_id,
                "ContainerName": one.name,
                "Repository": repository if repository and "/" not in tag else record.image_name,
                "Tag": tag if repository and "/" not in tag else "<none>",
                "Platform": f"{image.os}/{image.architecture}",
                "Size": image.size_bytes,
                "Created": image.created,
            }
        )
    if invocation.flag("quiet"):
        ids = dict.fromkeys(str(row["ID"]).removeprefix("sha256:") for row in rows)
        write("".join(f"{one}\n" for one in ids))
    elif invocation.text("format") == "json":
        write_json([{**row, "Created": unix_time(str(row["Created"]))} for row in rows], indent=2)
    else:
        _IMAGES.print(
            [
                (
                    str(row["ContainerName"]), str(row["Repository"]), str(row["Tag"]),
                    str(row["Platform"]), str(row["ID"]).removeprefix("sha256:")[:_SHORT_ID],
                    size_text(int(str(row["Size"]))), ago_text(str(row["Created"]), now_s),
                )
                for row in rows
            ],
            noheading=False, full=True,
        )  # fmt: skip
    return 0
