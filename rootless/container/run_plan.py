"""`run --explain`: what would be executed, and what of this host it would use.

The container is made as `create` makes it, its config.json is read back, and it is removed again:
what is shown is what a start would execute, not a guess.
"""

import os

from rootless.container.request import LIMITS, ContainerRequest, asked_limits
from rootless.errors import LimitError
from rootless.host.paths import Host
from storage import lightjson as json
from storage.containers import ContainerRecord, read_config, view
from storage.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent
    from rootless.sandbox.seccomp_compiler import Policy

Part = dict[str, object]


def explain_run(host: Host, request: ContainerRequest, on_event: "OnEvent | None" = None) -> Part:
    """Return the plan of a container, in parts; nothing of it stays but a fetched image.

    Raises what `rootless.container.create.create` raises.
    """
    from rootless.container.create import create
    from rootless.container.remove import remove_container, remove_volume_data
    from storage.volumes import list_volumes

    volumes = {record.name for record in list_volumes(host.layout)}
    alone = request._replace(name=None, cidfile=None, replace=False, rm=True)
    refusal = ""
    try:
        record = create(host, alone, on_event)
    except LimitError as error:
        refusal = f"no, so it would be refused: {error.message}"
        record = create(host, _without_limits(alone), on_event)
    try:
        plan = _describe(host, request, record)
        if refusal:
            plan["limits"] = _refused(request, refusal)
        return plan
    finally:
        remove_container(host, record)
        for volume in list_volumes(host.layout):
            mine = {str(entry.get("Name", "")) for entry in record.mounts}
            if volume.name not in volumes and volume.name in mine:
                remove_volume_data(host, volume.name)


def _without_limits(request: ContainerRequest) -> ContainerRequest:
    defaults = ContainerRequest._field_defaults
    return ContainerRequest._make(
        defaults[field] if field in LIMITS else value for field, value in request._asdict().items()
    )


def _refused(request: ContainerRequest, refusal: str) -> Part:
    asked = asked_limits(request)
    values = {field: getattr(request, field) for field in asked if field in LIMITS}
    return {"asked": asked, "resources": values, "enforced": refusal}


def _describe(host: Host, request: ContainerRequest, record: ContainerRecord) -> Part:
    from rootless.container.rootfs import make_root, seccomp_filter
    from rootless.sandbox.plan import make_plan

    found = view(host.layout, record)
    raw = read_config(found.paths)
    plan = make_plan(
        raw, make_root(host, found), seccomp=seccomp_filter(raw, found.paths.directory)
    )
    process = raw["process"]
    linux = raw["linux"]
    user = process["user"]
    return {
        "image": record.image_name or request.rootfs,
        "command": process["args"],
        "user": {"uid": user["uid"], "gid": user["gid"], "groups": user["additionalGids"]},
        "cwd": process["cwd"],
        "id_maps": {
            "uids": [list(line) for line in record.uid_map],
            "gids": [list(line) for line in record.gid_map],
            "set_by": _map_writer(record),
            "root_emulation": raw["annotations"].get("dev.rpod.root-emulation", "none"),
        },
        "namespaces": [entry["type"] for entry in linux["namespaces"]],
        "shared_namespaces": dict(record.joins),
        "steps": [_relative(line, found.paths.directory) for line in plan.describe()],
        "capabilities": _capabilities(process["capabilities"]),
        "no_new_privileges": bool(process.get("noNewPrivileges")),
        "seccomp": _seccomp(raw, found.paths.directory),
        "limits": _limits(host, request, linux.get("resources") or {}),
        "rlimits": process.get("rlimits", []),
        "network": {"mode": record.network, "ports": list(record.ports)},
        "log": record.log_driver,
        "rungs": _rungs(host, record),
    }


def _relative(line: str, directory: str) -> str:
    return line.replace(directory, "CONTAINER")


def _map_writer(record: ContainerRecord) -> str:
    lines = len(record.uid_map) + len(record.gid_map)
    alone = sum(line[2] for line in (*record.uid_map, *record.gid_map)) == lines == 2
    return "the kernel, for the caller's own id" if alone else "newuidmap and newgidmap"


def _capabilities(sets: dict[str, list[str]]) -> Part:
    from rootless.sandbox.capabilities import resolve

    default = resolve((), (), False)
    bounding = sets.get("bounding", [])
    return {
        "bounding": bounding,
        "effective": sets.get("effective", []),
        "added_to_default": [name for name in bounding if name not in default],
        "missing_of_default": [name for name in default if name not in bounding],
    }


def _seccomp(raw: Part, directory: str) -> Part:
    """Return which filter there is, and which calls it allows beyond, or unlike, the default."""
    from rootless.sandbox import seccomp_compiler, seccomp_document, seccomp_profile

    annotations, process = raw["annotations"], raw["process"]
    assert isinstance(annotations, dict) and isinstance(process, dict)
    choice = str(annotations.get("dev.rpod.seccomp", "default"))
    if choice == "unconfined":
        return {"filter": "none: every system call of the kernel is allowed"}
    architecture = seccomp_compiler.table_name(os.uname().machine)
    held = frozenset(process["capabilities"].get("bounding", []))
    from rootless.sandbox.capabilities import resolve

    default = _allowed(seccomp_profile.default_policy(architecture, resolve((), (), False)))
    if choice == "default":
        policy = seccomp_profile.default_policy(architecture, held)
    else:
        context = seccomp_document.Context(architecture, held, os.uname().release)
        profile = json.loads(read_file(f"{directory}/seccomp.json"))
        policy = seccomp_document.read_policy(profile, context, choice)
    allowed = _allowed(policy)
    return {
        "filter": choice,
        "allowed_beyond_default": sorted(allowed - default),
        "refused_beyond_default": sorted(default - allowed),
    }


def _allowed(policy: "Policy") -> set[str]:
    """Return the calls that are allowed, if only for some arguments."""
    from rootless.sandbox.seccomp_compiler import ALLOW

    return {
        name for name, rules in policy.rules.items() if any(rule.action == ALLOW for rule in rules)
    }


def _limits(host: Host, request: ContainerRequest, resources: Part) -> Part:
    from rootless.host.cgroup import find_cgroup

    runtime = host.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{host.uid}"
    cgroup = find_cgroup(host.uid, runtime)
    if request.cgroups == "disabled":
        why = "no: --cgroups=disabled"
    elif cgroup.manager:
        why = f"by {cgroup.manager}, in {cgroup.directory}; controllers: "
        why += " ".join(cgroup.controllers) or "none"
    else:
        why = f"no: no cgroup is delegated to you (cgroups {cgroup.mode}); see `rpod doctor`"
    return {"asked": asked_limits(request), "resources": resources, "enforced": why}


def _rungs(host: Host, record: ContainerRecord) -> Part:
    from rootless.host.probe import network_backend

    return {
        "root": record.driver,
        "network": network_backend(host),
        "ids": "one id" if host.id_maps().is_single else "ranges of /etc/subuid and /etc/subgid",
        "notes": list(host.notes),
    }


def as_text(plan: Part) -> str:
    """Return the plan for people."""
    lines: list[str] = []
    for title, value in plan.items():
        _add(lines, title.replace("_", " "), value, 0)
    return "\n".join(lines) + "\n"


def _add(lines: list[str], title: str, value: object, depth: int) -> None:
    indent = "  " * depth
    if isinstance(value, dict):
        lines.append(f"{indent}{title}:" + ("" if value else " none"))
        for key, one in value.items():
            _add(lines, str(key).replace("_", " "), one, depth + 1)
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        lines.append(f"{indent}{title}:")
        for one in value:
            words = one.values() if isinstance(one, dict) else one
            lines.append(f"{indent}  {' '.join(str(word) for word in words)}")
    elif isinstance(value, list) and title == "steps":
        lines.append(f"{indent}{title}:")
        lines += [f"{indent}  {one}" for one in value]
    elif isinstance(value, list):
        lines.append(f"{indent}{title}: {' '.join(map(str, value)) or 'none'}")
    else:
        shown = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        lines.append(f"{indent}{title}: {shown}")
