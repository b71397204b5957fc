"""`update`: other limits and settings for a container, at once when it runs, and later."""

from rootless.container import cgroup_limits, cgroup_places
from rootless.container.document import read_request
from rootless.container.request import LIMITS, ContainerRequest, asked_limits
from rootless.container.resources import Setting, make_resources, settings
from rootless.container.update_settings import SETTINGS, new_environment, with_settings
from rootless.errors import LimitError, UsageError
from rootless.host.paths import Host
from rootless.linux import cgroup
from storage import event_log
from storage import lightjson as json
from storage.containers import ContainerView, find_container, read_config, write_record
from storage.files import Lock, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_TOGETHER = ("cpus", "cpu_quota", "cpu_period")


def update(host: Host, text: str, changes: "Mapping[str, object]") -> str:
    """Change limits and settings; `changes` are fields of ContainerRequest. Return the id.

    Raises ContainerNotFound, UsageError, LimitError; then nothing has changed.
    """
    unknown = [name for name in changes if name not in (*LIMITS, *SETTINGS)]
    if unknown:
        raise UsageError(f"update: {unknown[0]} cannot be changed")
    limits = {name: value for name, value in changes.items() if name in LIMITS}
    found = find_container(host.layout, text)
    with Lock(host.layout.lock(f"update-{found.record.id}")):
        found = find_container(host.layout, found.record.id)
        request = with_limits(read_request(found.record.request), limits)
        request, record = with_settings(request, found.record, changes)
        raw = read_config(found.paths)
        process = raw["process"]
        process["env"] = new_environment(process.get("env", []), changes, host.environ)
        lives = found.status in ("running", "paused", "initialized")
        if limits:
            raw["linux"]["resources"] = resources = make_resources(request)
            if lives:
                _apply(host, found, settings(resources))
            else:
                cgroup_limits.prepare(host, raw, asked_limits(request), "strict")
        if lives and record.health is not None and found.record.health is None:
            host.note(f"the checks of {record.name} begin with its next start")
        write_file(found.paths.config, json.dumps(raw).encode(), sync=True)
        asked = {
            name: value
            for name, value in request._asdict().items()
            if value != ContainerRequest._field_defaults[name]
        }
        write_record(found.paths, record._replace(request=asked), sync=True)
    event_log.container_event(host.layout.run_root, "update", record=found.record)
    return found.record.id


def with_limits(request: ContainerRequest, changes: "Mapping[str, object]") -> ContainerRequest:
    """Return a request with other limits; what they replace goes."""
    if any(name in changes for name in _TOGETHER):
        # --cpus and --cpu-quota say the same thing: the newer word counts.
        keep = "cpus" in changes
        old = {"cpu_quota": None, "cpu_period": None} if keep else {"cpus": ""}
        request = request._replace(**old)
    if "memory" in changes and "memory_swap" not in changes:
        request = request._replace(memory_swap="")
    return request._replace(**changes)  # type: ignore[arg-type]  # checked by the option table


def _apply(host: Host, found: ContainerView, wanted: list[Setting]) -> None:
    """Set what differs from what the kernel has; take back what was set when one fails."""
    directory = found.state.cgroup
    if not directory:
        raise cgroup_places.missing_error(
            f"update {found.record.name}", "any: the container has no cgroup", None, host.uid
        )
    old = read_config(found.paths)["linux"].get("resources", {})
    before = {setting.file: setting for setting in settings(old)}
    changed = [setting for setting in wanted if before.get(setting.file) != setting]
    changed += [
        Setting(name, _RESET[name], setting.option)
        for name, setting in before.items()
        if name in _RESET and all(other.file != name for other in wanted)
    ]
    place = cgroup_places.find_place(host.uid, host.environ)
    there = cgroup.controllers(directory)
    for setting in changed:
        if setting.controller not in there:
            raise cgroup_places.missing_error(setting.option, setting.controller, place, host.uid)
    saved = [(setting.file, cgroup.read_or_empty(f"{directory}/{setting.file}"), setting.option)
             for setting in changed]  # fmt: skip
    try:
        cgroup_limits.apply(directory, changed, changed)
        cgroup_limits.share(directory, changed, host)
    except LimitError:
        old_settings = [Setting(*entry) for entry in saved if entry[1]]
        cgroup_limits.apply(directory, old_settings, [])
        raise


_RESET = {
    "memory.max": "max", "memory.swap.max": "max", "memory.low": "0", "cpu.max": "max",
    "cpu.weight": "100", "cpuset.cpus": "\n", "cpuset.mems": "\n", "pids.max": "max",
}  # fmt: skip
