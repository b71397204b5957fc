"""From a service to the request for one of its containers.

What is given to it (networks, mounts, secrets) comes from `given`, limits from `resources`.
"""

import math

from rootless.compose.errors import ComposeError
from rootless.compose.given import Given, mounts_of, networks_of
from rootless.compose.limits import limits_of
from rootless.compose.parts import Part
from rootless.container.moments import parse_duration
from rootless.container.request import ContainerRequest
from storage import lightjson as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.project import Project

_LOG_DRIVERS = {
    "": "k8s-file", "json-file": "json-file", "local": "k8s-file", "k8s-file": "k8s-file",
    "journald": "journald", "none": "none", "passthrough": "passthrough",
}  # fmt: skip
_LOG_OPTIONS = ("max-size", "max-file", "path", "tag")
_CONDITIONS = {"none": "no", "on-failure": "on-failure", "any": "always"}


def make_request(
    project: "Project", service: str, given: Given, **more: object
) -> ContainerRequest:
    """Return the request for a container of a service; `more` are fields that win.

    Raises ComposeError.
    """
    fields = project.every()[service]
    where = f"services.{service}"
    values: dict[str, object] = {
        "env": tuple(f"{key}={value}" for key, value in fields.words("environment").items()),
        "annotation": tuple(f"{k}={v}" for k, v in fields.words("annotations").items()),
        "hostname": fields.text("hostname") or None,
        "user": fields.text("user") or None,
        "workdir": fields.text("working_dir") or None,
        "group_add": fields.texts("group_add"),
        "tty": fields.flag("tty"),
        "interactive": fields.flag("stdin_open"),
        "init": fields.flag("init"),
        "privileged": fields.flag("privileged"),
        "read_only": fields.flag("read_only"),
        "cap_add": fields.texts("cap_add"),
        "cap_drop": fields.texts("cap_drop"),
        "dns": fields.texts("dns"),
        "dns_search": fields.texts("dns_search"),
        "dns_option": fields.texts("dns_opt"),
        "expose": fields.texts("expose"),
        "security_opt": tuple(_security(one) for one in fields.texts("security_opt")),
        "sysctl": tuple(f"{key}={value}" for key, value in fields.words("sysctls").items()),
        "add_host": tuple(
            f"{name}:{address}"
            for name in fields.part("extra_hosts")
            for address in fields.part("extra_hosts").texts(name)
        ),
        "platform": fields.text("platform") or None,
        "stop_signal": fields.text("stop_signal") or None,
        "restart": restart_policy(fields),
        "detach": True,
        "limits": project.limits,
        **_command(fields),
        **_namespaces(fields, where, given),
        **_logging(fields, where),
        **_health(fields, where),
        **limits_of(fields, where),
        **mounts_of(project, fields, where, given),
        **networks_of(project, service, fields, where, given),
    }
    if domain := fields.text("domainname"):
        # The kernel's own name of a domain (setdomainname(2)) is the administrator's.
        values["hostname"] = f"{fields.text('hostname') or service}.{domain}"
    if "stop_grace_period" in fields:
        seconds = parse_duration(fields.text("stop_grace_period")) or 0.0
        values["stop_timeout"] = math.ceil(seconds)
    values |= more
    defaults = ContainerRequest._field_defaults.items()
    return ContainerRequest._make(values.get(field, value) for field, value in defaults)


def _command(fields: Part) -> dict[str, object]:
    values: dict[str, object] = {}
    if "command" in fields:
        values["command"] = fields.texts("command")
    if "entrypoint" in fields:
        entrypoint = fields.texts("entrypoint")
        values["entrypoint"] = json.dumps(list(entrypoint)) if entrypoint else ""
    return values


def check_services(project: "Project") -> None:
    """Refuse what cannot work of the services before anything is made. Raises ComposeError."""
    contents = {("secrets", key): "" for key in project.secrets}
    contents |= {("configs", key): "" for key in project.configs}
    owners = dict.fromkeys(project.every(), "")
    given = Given(owners, {}, contents, ports=False, directories=False)
    for name in project.services:
        make_request(project, name, given)


def restart_policy(fields: Part) -> str:
    """Return the restart policy of a service, "" for none."""
    if "restart" in fields:
        policy = fields.text("restart")
        return "" if policy == "no" else policy
    deployed = fields.part("deploy").part("restart_policy")
    if not deployed.raw:
        return ""
    kind = _CONDITIONS[deployed.text("condition", "any")]
    tries = deployed.number("max_attempts")
    if kind == "on-failure" and tries is not None:
        return f"{kind}:{tries}"
    return "" if kind == "no" else kind


def _security(text: str) -> str:
    """docker's older form has a colon: seccomp:unconfined."""
    name, colon, value = text.partition(":")
    is_old = (
        colon and "=" not in text and name in ("seccomp", "apparmor", "label", "mask", "unmask")
    )
    return f"{name}={value}" if is_old else text


def _namespaces(fields: Part, where: str, given: Given) -> dict[str, object]:
    values: dict[str, object] = {}
    for key in ("pid", "ipc", "uts"):
        mode = fields.text(key)
        if mode.startswith("service:"):
            mode = f"container:{given.container_of(mode.partition(':')[2], f'{where}.{key}')}"
        if mode == "shareable":
            mode = "private"  # what every namespace is here: another container may join it
        if mode:
            values[key] = mode
    if mode := fields.text("userns_mode"):
        values["userns"] = mode
    if mode := fields.text("cgroup"):
        values["cgroupns"] = mode
    if parent := fields.text("cgroup_parent"):
        values["cgroup_parent"] = parent
    mode = fields.text("network_mode")
    if mode.startswith("service:"):
        owner = given.container_of(mode.partition(":")[2], f"{where}.network_mode")
        values["network"] = (f"container:{owner}",)
    elif mode:
        values["network"] = ("bridge" if mode in ("bridge", "default") else mode,)
    return values


def _logging(fields: Part, where: str) -> dict[str, object]:
    logging = fields.part("logging")
    if not logging.raw:
        return {}
    driver = logging.text("driver")
    if driver not in _LOG_DRIVERS:
        known = ", ".join(sorted(name for name in _LOG_DRIVERS if name))
        raise ComposeError(
            f"{where}.logging.driver: there is no driver {driver!r} here", remedy=f"use {known}"
        )
    options = []
    for key, value in logging.words("options").items():
        if key not in _LOG_OPTIONS:
            raise ComposeError(
                f"{where}.logging.options: there is no option {key!r} here",
                remedy="use " + ", ".join(_LOG_OPTIONS),
            )
        options.append(f"{key}={value}")
    return {"log_driver": _LOG_DRIVERS[driver], "log_opt": tuple(options)}


def _health(fields: Part, where: str) -> dict[str, object]:
    health = fields.part("healthcheck")
    if not health.raw:
        return {}
    test = health.texts("test")
    if health.flag("disable") or test[:1] == ("NONE",):
        return {"no_healthcheck": True}
    values: dict[str, object] = {}
    if test:
        values["health_cmd"] = json.dumps(list(test))
    for key in ("interval", "timeout", "start_period", "start_interval"):
        # docker's 0 is the default, and a second is the least that a check is given here.
        if seconds := parse_duration(health.text(key, "0s")):
            is_short = key == "timeout" and seconds < 1
            values[f"health_{key}"] = "1s" if is_short else health.text(key)
    retries = health.number("retries")
    if retries:
        values["health_retries"] = retries
    return values
