"""`auto-update`: services whose container's image has changed are restarted on the new one.

podman-auto-update(1). A container asks for it by a label and names its unit by another; when the
restart fails, or the new container turns unhealthy, the name goes back to the old image.
"""

import time

from rootless import images, naming
from rootless.container.health_state import STARTING, UNHEALTHY, health_status
from rootless.container.query import list_views
from rootless.errors import LimitError, UsageError
from rootless.linux.user_manager import UserManager, has_manager, runtime_directory
from storage.errors import ImageNotFound
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host
    from rootless.images import OnEvent, PullSettings
    from storage.containers import ContainerView

POLICY = "io.containers.autoupdate"
_AUTHFILE = "io.containers.autoupdate.authfile"
UNIT = "PODMAN_SYSTEMD_UNIT"
_REGISTRY, _LOCAL = ("registry", "image"), ("local",)
# A unit may take its TimeoutStartSec, and that of what it needs.
_RESTART_S = 900.0
_POLL_S = 0.2
_MARGIN_S = 5.0


class Update(NamedTuple):
    """What became of one container; `updated` is true, false, pending, rolled back or failed."""

    unit: str
    container_id: str
    container_name: str
    image: str
    policy: str
    updated: str


class _Task:
    """One container that wants to be kept up to date."""

    __slots__ = ("changed", "image", "policy", "result", "unit", "view")

    def __init__(self, view: "ContainerView") -> None:
        record = view.record
        self.view = view
        self.policy = record.labels[POLICY]
        self.image = str(record.request.get("image") or record.image_name)
        self.unit = record.labels.get(UNIT, "")
        self.changed = False
        self.result = "false"

    def report(self) -> Update:
        record = self.view.record
        return Update(
            self.unit, record.id, record.name, self.image, _policy_name(self.policy), self.result
        )


def _policy_name(policy: str) -> str:
    return "registry" if policy in _REGISTRY else policy


def auto_update(
    host: "Host",
    settings: "PullSettings",
    *,
    rollback: bool = True,
    dry_run: bool = False,
    on_event: "OnEvent | None" = None,
    on_failure: "Callable[[Exception], None]",
) -> list[Update]:
    """Update what can be; `on_failure` hears each error, and the others go on.

    Raises LimitError where no manager of the user's runs.
    """
    views = [view for view in list_views(host) if view.record.labels.get(POLICY, "")]
    tasks = [_Task(view) for view in views if view.record.labels[POLICY] != "disabled"]
    if not tasks:
        return []
    runtime = runtime_directory(host.uid, host.environ)
    if not dry_run and not has_manager(runtime):
        raise LimitError(
            "auto-update: no systemd of yours runs, and it is what restarts services",
            remedy="log in as this user, or loginctl enable-linger",
        )
    looked: list[_Task] = []
    for task in tasks:
        try:
            _look(host, task, settings, dry_run=dry_run, on_event=on_event)
        except Exception as error:  # noqa: BLE001 - one that cannot be had keeps no other back
            task.result = "failed"
            on_failure(error)
        looked.append(task)
    if not dry_run:
        for unit in dict.fromkeys(task.unit for task in looked if task.changed):
            together = [task for task in looked if task.unit == unit and task.changed]
            try:
                _restart_on_new(host, runtime, unit, together, rollback=rollback)
            except (OSError, LimitError) as error:
                on_failure(error)
    return [task.report() for task in looked]


def _look(
    host: "Host",
    task: _Task,
    settings: "PullSettings",
    *,
    dry_run: bool,
    on_event: "OnEvent | None",
) -> None:
    """Find out whether there is another image, and fetch it."""
    record = task.view.record
    if not task.unit:
        raise UsageError(
            f"auto-update container {record.name}: it has no label {UNIT}, so no unit is known",
            remedy="start it by a unit of systemd: a Quadlet file, or rpod generate systemd --new",
        )
    if task.policy in _LOCAL:
        task.changed = images.find_local(host, task.image).image_id != record.image_id
    elif task.policy in _REGISTRY:
        _check_full(task)
        own = record.labels.get(_AUTHFILE)
        settings = settings._replace(authfile=own or settings.authfile, pull="always")
        if dry_run:
            task.changed = not _has_same(host, task, settings)
        else:
            task.changed = images.pull(host, task.image, settings, on_event).image_id != (
                record.image_id
            )
    else:
        raise UsageError(
            f"auto-update container {record.name}: unknown policy {task.policy[:80]!r}",
            remedy=f"use the label {POLICY}=registry, local or disabled",
        )
    if task.changed and dry_run:
        task.result = "pending"


def _check_full(task: _Task) -> None:
    host_name, slash, _ = task.image.partition("/")
    if not slash or not ("." in host_name or ":" in host_name or host_name == "localhost"):
        raise UsageError(
            f"auto-update container {task.view.record.name}: the image {task.image} is not named"
            " in full",
            remedy=f"write registry and repository, such as docker.io/library/{task.image}",
        )


def _has_same(host: "Host", task: _Task, settings: "PullSettings") -> bool:
    try:
        found = images.find_local(host, task.image)
    except ImageNotFound:
        return False
    if found.image_id != task.view.record.image_id:
        return False
    from rootless.finding import is_current

    return is_current(host, task.image, settings)


def _restart_on_new(
    host: "Host", runtime: str, unit: str, tasks: list[_Task], *, rollback: bool
) -> None:
    """Restart a unit on the new images, and on the old ones when that fails. Raises LimitError."""
    problem = _restart(host, runtime, unit)
    if not problem:
        for task in tasks:
            task.result = "true"
        return
    for task in tasks:
        task.result = "failed"
    if not rollback:
        raise LimitError(f"auto-update {unit}: {problem}")
    for task in tasks:
        naming.tag(host, task.view.record.image_id, [task.image])
    again = _restart(host, runtime, unit)
    if again:
        raise LimitError(f"auto-update {unit}: {problem}; on the old image: {again}")
    for task in tasks:
        task.result = "rolled back"
    host.note(f"auto-update {unit}: {problem}; it runs on the old image again")


def _restart(host: "Host", runtime: str, unit: str) -> str:
    """Restart a unit and wait for its containers' health; return what went wrong, or ""."""
    from rootless.linux.dbus import DBusError

    try:
        manager = UserManager(runtime, timeout_s=_RESTART_S)
        try:
            manager.restart_unit(unit)
        finally:
            manager.close()
    except (OSError, DBusError) as error:
        return f"restart it: {getattr(error, 'text', '') or error}"
    return _wait_healthy(host, unit)


def _wait_healthy(host: "Host", unit: str) -> str:
    """Return what is wrong with the health of the unit's containers, "" when nothing is."""
    checked = [view for view in _views_of(host, unit) if view.record.health is not None]
    last_s = time.monotonic() + max((_verdict_s(view) for view in checked), default=0.0)
    for first in checked:
        name = first.record.name
        while True:
            now = next((v for v in _views_of(host, unit) if v.record.id == first.record.id), None)
            if now is None:
                return f"container {name} has ended while its health was looked at"
            status = health_status(now)
            if status == UNHEALTHY:
                return f"container {name} is unhealthy"
            if status != STARTING or time.monotonic() > last_s:
                break
            time.sleep(_POLL_S)
    return ""


def _views_of(host: "Host", unit: str) -> "list[ContainerView]":
    return [view for view in list_views(host) if view.record.labels.get(UNIT) == unit]


def _verdict_s(view: "ContainerView") -> float:
    """Return within how many seconds a container with checks is healthy or unhealthy."""
    health = view.record.health or {}

    def number(key: str) -> float:
        value = health.get(key)
        return float(value) if isinstance(value, int | float) else 0.0

    if not number("interval_s"):
        return 0.0
    rounds = max(1.0, number("retries"))
    return number("start_period_s") + rounds * (
        number("interval_s") + number("timeout_s")
    ) + _MARGIN_S  # fmt: skip
