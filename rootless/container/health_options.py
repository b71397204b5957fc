"""`--health-*` and an image's HEALTHCHECK: what a container's record says about its checks."""

from rootless.errors import UsageError
from storage import lightjson as json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.request import ContainerRequest
    from storage.oci.config import ImageConfig

_DEFAULT_S, _DEFAULT_RETRIES = 30.0, 3
_ACTIONS = ("none", "kill", "restart", "stop")
_NANOSECOND = 1e-9
_STARTUP_INTERVAL = "--health-startup-interval"
# Options that say how to check, and mean nothing when nothing says what to check.
_DETAILS = (
    "health_interval", "health_timeout", "health_retries", "health_start_period",
    "health_on_failure", "health_start_interval", "health_startup_interval",
    "health_startup_retries", "health_startup_success", "health_startup_timeout",
)  # fmt: skip


def make_health(request: "ContainerRequest", image: "ImageConfig") -> dict[str, object] | None:
    """Return the checks of a container; durations in seconds, an interval of 0 is never.

    None when there are none. Raises UsageError.
    """
    if request.no_healthcheck:
        if request.health_cmd is not None:
            raise UsageError("--no-healthcheck and --health-cmd do not go together")
        return None
    base = _from_image(image.healthcheck or {})
    if request.health_cmd is not None:
        base = {"test": parse_test("--health-cmd", request.health_cmd)}
    settings: dict[str, object] = {
        "interval_s": _interval(request.health_interval, base.get("interval_s")),
        "timeout_s": _timeout("timeout", request.health_timeout, base.get("timeout_s")),
        "retries": _count("retries", request.health_retries, base.get("retries")),
        "start_period_s": _period(request.health_start_period, base.get("start_period_s")),
        "start_interval_s": _start_interval(request, base.get("start_interval_s")),
        "on_failure": _action(request.health_on_failure),
        "log_count": request.health_max_log_count,
        "log_size_bytes": request.health_max_log_size,
        "startup": _startup(request, has_check=bool(base)),
    }
    test = base.get("test")
    return {"test": test, **settings} if test else None


def details_without_check(request: "ContainerRequest") -> list[str]:
    """Return the options that were given although nothing says what to check."""
    defaults = request._field_defaults
    return [
        "--" + name.replace("_", "-")
        for name in _DETAILS
        if getattr(request, name) != defaults[name]
    ]


def parse_test(option: str, text: str) -> list[str]:
    """Return the check in docker's form: CMD and words, or CMD-SHELL and a line; [] for none."""
    if text.strip().lower() == "none":
        return []
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            if words[0] == "NONE":
                return []
            if words[0] in ("CMD", "CMD-SHELL"):
                return words
            # A list of one word is a line: podman-compose writes CMD-SHELL so.
            return ["CMD", *words] if len(words) > 1 else ["CMD-SHELL", words[0]]
    if not text.strip():
        raise UsageError(f"{option}: a command is missing", remedy=f"say {option} 'COMMAND'")
    return ["CMD-SHELL", text]


def _from_image(raw: dict[str, object]) -> dict[str, object]:
    """Read HEALTHCHECK of an image's configuration: durations are nanoseconds there."""
    test = raw.get("Test")
    if not isinstance(test, list) or not test or test[0] not in ("CMD", "CMD-SHELL"):
        return {}
    found: dict[str, object] = {"test": [str(word) for word in test]}
    for key, name in (
        ("Interval", "interval_s"),
        ("Timeout", "timeout_s"),
        ("StartPeriod", "start_period_s"),
        ("StartInterval", "start_interval_s"),
    ):
        value = raw.get(key)
        if isinstance(value, int) and value > 0:
            found[name] = value * _NANOSECOND
    if isinstance(retries := raw.get("Retries"), int) and retries > 0:
        found["retries"] = retries
    return found


def _startup(request: "ContainerRequest", *, has_check: bool) -> dict[str, object] | None:
    if request.health_startup_cmd is None:
        for option in details_without_check(request):
            if has_check and option == _STARTUP_INTERVAL:
                continue
            if option.startswith("--health-startup-"):
                value = getattr(request, option[2:].replace("-", "_"))
                raise UsageError(
                    f"{option} {value}: there is no start-up check that it could be for",
                    remedy="add --health-startup-cmd COMMAND",
                )
        return None
    test = parse_test("--health-startup-cmd", request.health_startup_cmd)
    if not test:
        return None
    return {
        "test": test,
        "interval_s": _interval(request.health_startup_interval, None) or _DEFAULT_S,
        "timeout_s": _timeout("startup-timeout", request.health_startup_timeout, None),
        "retries": _not_negative("startup-retries", request.health_startup_retries),
        "success": _not_negative("startup-success", request.health_startup_success),
    }


def _seconds(option: str, text: str) -> float:
    from rootless.container.moments import parse_duration

    seconds = parse_duration(text)
    if seconds is None or seconds < 0:
        raise UsageError(f"--health-{option}: {text!r} is no duration", remedy="say 30s or 1m30s")
    return seconds


def _interval(text: str | None, default: object) -> float:
    if text is None:
        return _number(default, _DEFAULT_S)
    return 0.0 if text == "disable" else _seconds("interval", text)


def _timeout(option: str, text: str | None, default: object) -> float:
    if text is None:
        return _number(default, _DEFAULT_S)
    seconds = _seconds(option, text)
    if seconds < 1:
        raise UsageError(f"--health-{option}: {text} is less than 1 second")
    return seconds


def _period(text: str | None, default: object) -> float:
    return _number(default, 0.0) if text is None else _seconds("start-period", text)


def _start_interval(request: "ContainerRequest", default: object) -> float:
    """Return the time between checks in the start period; 0 for that of the others."""
    text = request.health_start_interval
    if text is None and request.health_startup_cmd is None:
        # podman-compose writes compose's `start_interval` so.
        text = request.health_startup_interval
    return _number(default, 0.0) if text is None else _seconds("start-interval", text)


def _count(option: str, value: int | None, default: object) -> int:
    if value is None:
        return default if isinstance(default, int) else _DEFAULT_RETRIES
    if value < 1:
        raise UsageError(f"--health-{option} {value}: must be greater than 0")
    return value


def _not_negative(option: str, value: int) -> int:
    if value < 0:
        raise UsageError(f"--health-{option}: must not be negative")
    return value


def _action(text: str) -> str:
    if text not in _ACTIONS:
        raise UsageError(
            f"--health-on-failure: {text!r} is no action", remedy="use " + ", ".join(_ACTIONS)
        )
    return text


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
