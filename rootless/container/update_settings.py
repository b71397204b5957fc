"""`update --restart`, `--health-*`, `--env`: what a container's record says, and not its cgroup."""

from rootless.container.create_record import restart_policy
from rootless.container.health_options import details_without_check, make_health
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from storage.containers import ContainerRecord
from storage.oci.config import ImageConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SECOND_NS = 1_000_000_000
_TIMES = (
    ("Interval", "interval_s"), ("Timeout", "timeout_s"),
    ("StartPeriod", "start_period_s"), ("StartInterval", "start_interval_s"),
)  # fmt: skip
HEALTH = tuple(name for name in ContainerRequest._fields if name[:7] == "health_")
SETTINGS = ("restart", "env", "unsetenv", "no_healthcheck", *HEALTH)


def with_settings(
    request: ContainerRequest, record: ContainerRecord, changes: "Mapping[str, object]"
) -> tuple[ContainerRequest, ContainerRecord]:
    """Return both with other settings. Raises UsageError."""
    given = {name: value for name, value in changes.items() if name in SETTINGS}
    own = {name: given.pop(name, ()) for name in ("env", "unsetenv")}
    if "no_healthcheck" in given:
        given = {**{name: ContainerRequest._field_defaults[name] for name in HEALTH}, **given}
    elif any(name in given for name in HEALTH):
        given = {**given, "no_healthcheck": False}
    request = request._replace(**given)  # type: ignore[arg-type]  # checked by the option table
    if own["env"] or own["unsetenv"]:
        request = request._replace(env=_without(request.env, own["unsetenv"]) + own["env"])  # type: ignore[operator]
    if "restart" in given:
        record = record._replace(restart=_restart(request, record))
    if any(name in given for name in ("no_healthcheck", *HEALTH)):
        record = record._replace(health=_health(request, record))
    return request, record


def _restart(request: ContainerRequest, record: ContainerRecord) -> str:
    policy = restart_policy(request)
    if record.auto_remove and policy not in ("", "no"):
        raise UsageError(f"--restart {policy}: the container is removed when it ends (--rm)")
    return policy


def _health(request: ContainerRequest, record: ContainerRecord) -> dict[str, object] | None:
    """Return the checks: what is not said stays, whether it was the image's or an option's."""
    now = record.health or {}
    check: dict[str, object] = {"Test": now.get("test"), "Retries": now.get("retries")}
    for key, name in _TIMES:
        seconds = now.get(name)
        check[key] = int(seconds * _SECOND_NS) if isinstance(seconds, int | float) else 0
    image = ImageConfig.from_json({"config": {"Healthcheck": check}}, "update")
    health = make_health(request, image)
    if health is None and not request.no_healthcheck and request.health_cmd is None:
        options = details_without_check(request)
        if options:
            raise UsageError(
                f"{options[0]}: the container has no health check",
                remedy="add --health-cmd COMMAND",
            )
    return health


def _without(entries: tuple[str, ...], names: object) -> tuple[str, ...]:
    assert isinstance(names, tuple)
    return tuple(entry for entry in entries if entry.partition("=")[0] not in names)


def new_environment(
    environment: list[str], changes: "Mapping[str, object]", caller: "Mapping[str, str]"
) -> list[str]:
    """Return process.env of config.json (OCI runtime-spec) after --unsetenv, then --env."""
    texts, names = changes.get("env", ()), changes.get("unsetenv", ())
    assert isinstance(texts, tuple)
    found = dict(entry.partition("=")[::2] for entry in environment)
    for name in names if isinstance(names, tuple) else ():
        found.pop(name, None)
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or "\0" in text:
            raise UsageError(f"--env {text!r}: a name is missing", remedy="say NAME=VALUE")
        if equals:
            found[name] = value
        elif name in caller:
            found[name] = caller[name]
    return [f"{name}={value}" for name, value in found.items()]
