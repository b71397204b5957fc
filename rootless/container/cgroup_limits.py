"""Limits of a container: checked before anything is made, written to its cgroup and its scope."""

import os

from rootless.container.cgroup_places import (
    CONTROLLERS,
    GET_ONE,
    MODE,
    PARENT,
    missing_error,
    place_for,
)
from rootless.container.request import DEFAULT_PIDS
from rootless.container.resources import Setting, check_cpus, settings
from rootless.errors import LimitError, UsageError
from rootless.linux import cgroup
from rootless.linux.user_manager import UserManager, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host


def apply(leaf: str, wanted: list[Setting], must: list[Setting]) -> None:
    """Write limits; a failure counts for those of `must`. Raises LimitError."""
    check_cpus(wanted, os.path.dirname(leaf))
    for setting in wanted:
        if setting in must:
            _check_parents(os.path.dirname(leaf), setting)
        try:
            cgroup.write(f"{leaf}/{setting.file}", setting.value)
        except FileNotFoundError as error:
            # Without swap accounting there is no swap either that could be used beyond --memory.
            if setting in must and not setting.file.startswith("memory.swap"):
                raise LimitError(
                    f"{setting.option}: this kernel has no {setting.file}"
                    f" (missing controller: {setting.controller})",
                    remedy="add --limits=best-effort to go without",
                ) from error
        except OSError as error:
            if setting in must:
                raise LimitError(
                    f"{setting.option}: write {setting.value!r} to {setting.file}: {error.strerror}"
                ) from error


def weigh_monitor(scope: str, wanted: list[Setting]) -> None:
    """Give the monitor the weight of its container: its network helper works for that one."""
    for setting in wanted:
        if setting.file == "cpu.weight":
            cgroup.write(f"{scope}/monitor/{setting.file}", setting.value)


def share(directory: str, wanted: list[Setting], host: "Host") -> None:
    """Set on the scope of a container that runs what counts between containers.

    Raises LimitError.
    """
    from rootless.container.shares import scope_properties
    from rootless.linux.dbus import DBusError

    scope, leaf = os.path.split(directory)
    properties = scope_properties(wanted)
    if not properties or leaf != "container" or not scope.endswith(".scope"):
        return
    try:
        manager = UserManager(runtime_directory(host.uid, host.environ))
        try:
            manager.set_properties(os.path.basename(scope), properties)
        finally:
            manager.close()
        weigh_monitor(scope, wanted)
    except (OSError, DBusError) as error:
        text = getattr(error, "text", "") or str(error)
        raise LimitError(
            f"ask the user's systemd for {properties[0][0]} of {os.path.basename(scope)}: {text}",
            remedy="look at systemctl --user status",
        ) from error


def _check_parents(directory: str, setting: Setting) -> None:
    """Refuse a limit that one above makes smaller."""
    if setting.file not in ("memory.max", "pids.max") or not setting.value.isdecimal():
        return
    mount = cgroup.mount_point()
    while mount and len(directory) > len(mount):
        text = cgroup.read_or_empty(f"{directory}/{setting.file}")
        if text.isdecimal() and int(text) < int(setting.value):
            raise LimitError(
                f"{setting.option} {setting.value}: more than {text}, the limit of {directory}",
                remedy=f"use at most {text}",
            )
        directory = os.path.dirname(directory)


def prepare(host: "Host", raw: dict[str, object], asked: list[str], limits: str) -> None:
    """Check the limits in config.json before anything is made; with best-effort replace some.

    Raises LimitError, UsageError.
    """
    if limits not in ("strict", "best-effort"):
        raise UsageError(f"--limits={limits}: use strict or best-effort")
    linux, annotations, process = raw["linux"], raw["annotations"], raw["process"]
    assert isinstance(linux, dict) and isinstance(annotations, dict) and isinstance(process, dict)
    parent = str(annotations.get(PARENT, ""))
    if not asked and not parent:
        return
    resources = linux["resources"]
    wanted = settings(resources)
    needed = tuple({setting.controller for setting in wanted})
    place = place_for(host, annotations, needed)
    there = place.controllers if place is not None else ()
    if limits == "best-effort":
        from rootless.container.best_effort import Effort

        effort = Effort(resources, [name for name in CONTROLLERS if name not in there])
        linux["resources"] = effort.left
        kinds = {entry["type"] for entry in effort.rlimits}
        others = [entry for entry in process["rlimits"] if entry["type"] not in kinds]
        process["rlimits"] = others + effort.rlimits
        if effort.cpus:
            annotations["dev.rpod.affinity"] = ",".join(str(number) for number in effort.cpus)
        for text in effort.notes:
            host.note(text)
        if parent and place is None:
            host.note(f"--cgroup-parent {parent}: left out, no cgroup here is delegated to you")
        return
    default = Setting("pids.max", str(DEFAULT_PIDS), "--pids-limit")
    for setting in wanted:
        if setting.controller in there or setting.value == "max" or setting == default:
            continue
        if annotations.get(MODE) == "disabled":
            raise UsageError(f"{setting.option} and --cgroups=disabled do not go together")
        raise missing_error(setting.option, setting.controller, place, host.uid)
    if place is not None:
        check_cpus(wanted, place)
    elif parent and annotations.get(MODE) != "disabled":
        raise LimitError(
            f"--cgroup-parent {parent}: no cgroup here is delegated to you", remedy=GET_ONE
        )
