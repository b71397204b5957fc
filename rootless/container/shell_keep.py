"""Named dev shells: a container that waits, and every shell a process that joins it.

The container runs while somebody is in it. Each client holds a lock for its time inside; the last
one to leave, who gets it for itself alone, ends the container. A client that is killed leaves it
running, until the next one leaves or `rpod stop`.
"""

from rootless.container.create import create
from rootless.container.personal import is_passed, is_personal
from rootless.container.request import ContainerRequest, ExecRequest
from rootless.errors import UsageError
from storage.containers import ContainerView, name_owner, read_record, view
from storage.files import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host
    from rootless.images import OnEvent

LABEL = "dev.rpod.shell"
# Waits on a standard input that stays open; every image that can have a shell has this one.
_WAIT = ("/bin/sh",)


def enter(
    host: "Host", name: str, request: ContainerRequest, on_event: "OnEvent | None" = None
) -> int:
    """Run the request's command in the shell of this name, which is made when it is not there.

    Returns the command's exit code. Raises UsageError and what `create`, `start` and `exec` raise.
    """
    found = _find(host, name)
    if found is None:
        found = _make(host, name, request, on_event)
    else:
        _check(host, found, request)
    inside = Lock(f"{found.paths.directory}/shell.lock", shared=True)
    with inside:
        return _run(host, found, request)


def leave(host: "Host", name: str) -> None:
    """End the container of a shell when nobody is in it any more."""
    found = _find(host, name)
    if found is None or found.status != "running":
        return
    alone = Lock(f"{found.paths.directory}/shell.lock")
    if not alone.acquire(wait=False):
        return
    try:
        from rootless.container.ending import stop

        stop(host, found.record.id, 0)
    finally:
        alone.release()


def image_of(host: "Host", name: str) -> str:
    """Return the image that an existing shell was made from, "" when there is no such shell."""
    found = _find(host, name)
    return found.record.image_name if found is not None else ""


def images_of(host: "Host", name: str) -> tuple[str, ...]:
    """Return the names of what an existing shell was made from, () when there is no such shell."""
    found = _find(host, name)
    return (found.record.labels[LABEL], found.record.image_name) if found is not None else ()


def _find(host: "Host", name: str) -> ContainerView | None:
    owner = name_owner(host.layout, name)
    if owner is None:
        return None
    record = read_record(host.layout, owner)
    if LABEL not in record.labels:
        raise UsageError(
            f"--keep {name}: a container that is no shell has this name",
            remedy="use another name",
        )
    return view(host.layout, record)


def _make(
    host: "Host", name: str, request: ContainerRequest, on_event: "OnEvent | None"
) -> ContainerView:
    label = f"{LABEL}={request.image}"
    if request.user == "0:0" and request.root_emulation == "auto" and host.id_maps().is_single:
        # Kept for what root installs in it: `rootless.container.owned_homes`.
        request = request._replace(root_emulation="full")
    made = request._replace(
        name=name, command=_WAIT, tty=False, rm=False, label=(*request.label, label)
    )
    return view(host.layout, create(host, made, on_event))


def _check(host: "Host", found: ContainerView, request: ContainerRequest) -> None:
    """Say what of the request the shell, which is there already, cannot have. Raises UsageError."""
    record = found.record
    made_from = record.labels[LABEL]
    if request.image not in (made_from, record.image_name):
        raise UsageError(
            f"--keep {record.name}: this shell was made from {made_from}",
            remedy=f"rpod rm {record.name} to begin anew, or another name",
        )
    for field in ("volume", "mount", "device", "publish", "cap_add"):
        before = record.request.get(field, ())
        before = tuple(before) if isinstance(before, list | tuple) else ()
        more = [text for text in getattr(request, field) if text not in before]
        if [text for text in more if not text.endswith(":optional")]:
            host.note(
                f"{' '.join(more)}: left out, the shell {record.name} is there already: it has what"
                " it was made with"
            )


def _run(host: "Host", found: ContainerView, request: ContainerRequest) -> int:
    if found.status != "running":
        from rootless.container.lifecycle import start

        start(host, found.record.id)
    from rootless.container.exec import exec_in

    caller = host.environ
    names = sorted(name for name in caller if is_personal(name) and is_passed(name))
    return exec_in(
        host,
        ExecRequest(
            container=found.record.id,
            command=request.command,
            interactive=True,
            tty=request.tty,
            env=(*(f"{name}={caller[name]}" for name in names), *request.env),
            user=_user(found, request),
            workdir=request.workdir,
        ),
    )


def _user(found: ContainerView, request: ContainerRequest) -> str | None:
    """Return who the process is, where that differs from whom the shell was made for."""
    was_root = found.record.request.get("user") == "0:0"
    if request.user == "0:0" and not was_root:
        if len(found.record.uid_map) == 1:
            raise UsageError(
                f"--keep {found.record.name} --as-root: with a single id a shell that was made"
                " for you has no root",
                remedy="make another one with --as-root, where the files are yours as well",
            )
        return "0:0"
    return None
