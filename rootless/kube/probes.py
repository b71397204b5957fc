"""Probes of a container as health checks: the liveness and the start-up probe."""

from rootless.errors import UsageError
from rootless.kube.documents import Fields
from storage import lightjson as json


def probe_options(container: Fields, restart: str) -> dict[str, object]:
    """Return the fields of a container's request that its probes ask for. Raises UsageError."""
    options: dict[str, object] = {}
    if "livenessProbe" in container:
        probe = container.part("livenessProbe")
        options = {
            "health_cmd": _command(probe, container),
            "health_interval": f"{_positive(probe, 'periodSeconds', 10)}s",
            "health_timeout": f"{_positive(probe, 'timeoutSeconds', 1)}s",
            "health_retries": _positive(probe, "failureThreshold", 3),
            "health_start_period": f"{probe.number('initialDelaySeconds') or 0}s",
            # As Kubernetes does: a container that does not live is started anew.
            "health_on_failure": "restart" if restart in ("always", "on-failure") else "none",
        }
    if "startupProbe" in container:
        probe = container.part("startupProbe")
        if not options:
            raise UsageError(f"{probe.where}: it needs a livenessProbe to wait for")
        options |= {
            "health_startup_cmd": _command(probe, container),
            "health_startup_interval": f"{_positive(probe, 'periodSeconds', 10)}s",
            "health_startup_timeout": f"{_positive(probe, 'timeoutSeconds', 1)}s",
            "health_startup_retries": _positive(probe, "failureThreshold", 3),
            "health_startup_success": _positive(probe, "successThreshold", 1),
        }
    return options


def _positive(probe: Fields, key: str, default: int) -> int:
    value = probe.number(key)
    if value is None or value == 0:
        return default
    if value < 0:
        raise UsageError(f"{probe.where}.{key}: {value} is negative")
    return value


def _command(probe: Fields, container: Fields) -> str:
    """Return the check: exec as it is, the others by what most images have."""
    if "exec" in probe:
        words = probe.part("exec").texts("command")
        if not words:
            raise UsageError(f"{probe.where}.exec.command is missing")
        return json.dumps(["CMD", *words])
    if "httpGet" in probe:
        get = probe.part("httpGet")
        scheme = (get.text("scheme") or "http").lower()
        path = get.text("path") or "/"
        url = f"{scheme}://{get.text('host') or 'localhost'}:{_port(get, container)}{path}"
        if "'" in url or not url.isprintable() or " " in url:
            raise UsageError(f"{get.where}: {url!r} is no address")
        line = f"curl -fsS -o /dev/null '{url}' || wget -q -O /dev/null '{url}' || exit 1"
        return json.dumps(["CMD-SHELL", line])
    if "tcpSocket" in probe:
        target = probe.part("tcpSocket")
        host = target.text("host") or "localhost"
        if not all(letter.isalnum() or letter in "-.:" for letter in host):
            raise UsageError(f"{target.where}.host: {host!r} is no host name")
        return json.dumps(["CMD-SHELL", f"nc -z {host} {_port(target, container)} || exit 1"])
    raise UsageError(f"{probe.where}: no probe that a container can have here",
                     remedy="use exec, httpGet or tcpSocket")  # fmt: skip


def _port(target: Fields, container: Fields) -> int:
    """Return a port by number, or by the name that the container gives to one."""
    value = target.raw.get("port")
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    for port in container.parts("ports"):
        if port.text("name") == value and port.number("containerPort"):
            return port.number("containerPort") or 0
    raise UsageError(f"{target.where}.port: {value!r} is no port of the container")
