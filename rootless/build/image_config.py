"""What instructions do to an image's configuration (OCI image-spec, config; docker's fields).

The text that they return is their line of the history, as docker writes it.
"""

import json
import re

from rootless.build import model
from rootless.build.model import CommandLine, Instruction
from rootless.container.moments import parse_duration
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Config = dict[str, object]
DEFAULT_SHELL = ("/bin/sh", "-c")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z", re.IGNORECASE)
_NANOSECONDS = 1_000_000_000


def shell_of(config: Config) -> tuple[str, ...]:
    """Return the command that runs a script: SHELL, else /bin/sh -c."""
    return texts(config, "Shell") or DEFAULT_SHELL


def texts(config: Config, key: str) -> tuple[str, ...]:
    value = config.get(key)
    return tuple(str(entry) for entry in value) if isinstance(value, list) else ()


def text(config: Config, key: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) else ""


def environment(config: Config) -> dict[str, str]:
    """Return the variables of an image."""
    return {
        name: value for name, _, value in (entry.partition("=") for entry in texts(config, "Env"))
    }


def argument_list(command: CommandLine, config: Config) -> list[str]:
    """Return what is executed: the exec form, or the shell with the script."""
    return [*shell_of(config), *command.words] if command.is_shell else list(command.words)


def edit(config: Config, instruction: Instruction) -> str:
    """Apply an expanded instruction that changes the configuration only; return its history line.

    Raises UsageError, and TypeError for one that does more.
    """
    action = _ACTIONS.get(type(instruction))
    if action is None:
        raise TypeError(f"{type(instruction).__name__} does not only change the configuration")
    return action(config, instruction)


def join(base: str, path: str) -> str:
    """Return an absolute path for one that may be relative to `base`, without . and .. parts."""
    parts: list[str] = []
    whole = path if path.startswith("/") else f"{base or '/'}/{path}"
    for part in whole.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _env(config: Config, env: model.Env) -> str:
    variables = environment(config)
    for name, value in env.pairs:
        if not name or "\0" in value:
            raise UsageError(f"ENV {name[:60]}: an empty name, or a NUL in the value")
        variables[name] = value
    config["Env"] = [f"{name}={value}" for name, value in variables.items()]
    return f"ENV {_pairs(env.pairs)}"


def _label(config: Config, label: model.Label) -> str:
    labels = config.get("Labels")
    new = dict(label.pairs)
    config["Labels"] = {**(labels if isinstance(labels, dict) else {}), **new}
    return f"LABEL {_pairs(label.pairs)}"


def _user(config: Config, user: model.User) -> str:
    config["User"] = user.user
    return f"USER {user.user}"


def _workdir(config: Config, workdir: model.Workdir) -> str:
    config["WorkingDir"] = join(text(config, "WorkingDir"), workdir.path)
    return f"WORKDIR {config['WorkingDir']}"


def _shell(config: Config, shell: model.Shell) -> str:
    config["Shell"] = list(shell.words)
    return f"SHELL [{' '.join(shell.words)}]"


def _onbuild(config: Config, onbuild: model.Onbuild) -> str:
    config["OnBuild"] = [*texts(config, "OnBuild"), onbuild.text]
    return f"ONBUILD {onbuild.text}"


def _pairs(pairs: "Iterable[tuple[str, str]]") -> str:
    return " ".join(f"{name}={value}" for name, value in pairs)


def _expose(config: Config, expose: model.Expose) -> str:
    ports = expose.ports
    known = config.get("ExposedPorts")
    found = dict(known) if isinstance(known, dict) else {}
    for port in ports:
        match = _PORT.match(port)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if match is None or not 0 < first <= last <= 65535:
            raise UsageError(f"EXPOSE {port[:60]}: PORT[-PORT][/PROTOCOL] is expected")
        protocol = (match[3] or "tcp").lower()
        for number in range(first, last + 1):
            found[f"{number}/{protocol}"] = {}
    config["ExposedPorts"] = found
    return f"EXPOSE [{' '.join(ports)}]"


def _volume(config: Config, volume: model.Volume) -> str:
    paths = volume.paths
    known = config.get("Volumes")
    found = dict(known) if isinstance(known, dict) else {}
    for path in paths:
        found[join(text(config, "WorkingDir"), path)] = {}
    config["Volumes"] = found
    return f"VOLUME [{' '.join(paths)}]"


def _stop_signal(config: Config, stop: model.StopSignal) -> str:
    signal = stop.signal
    from rootless.container.limits import parse_signal

    parse_signal(signal)
    config["StopSignal"] = signal
    return f"STOPSIGNAL {signal}"


def _shown(arguments: "Iterable[str]") -> str:
    """Return an argument list as docker's history shows it."""
    return json.dumps(list(arguments), ensure_ascii=False, separators=(" ", ": "))


def _cmd(config: Config, cmd: model.Cmd) -> str:
    arguments = argument_list(cmd.command, config)
    config["Cmd"] = arguments
    return f"CMD {_shown(arguments)}"


def _entrypoint(config: Config, entrypoint: model.Entrypoint) -> str:
    arguments = argument_list(entrypoint.command, config)
    config["Entrypoint"] = arguments
    return f"ENTRYPOINT {_shown(arguments)}"


def _healthcheck(config: Config, check: model.Healthcheck) -> str:
    if check.command is None:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return "HEALTHCHECK NONE"
    words = list(check.command.words)
    test = ["CMD-SHELL" if check.command.is_shell else "CMD", *words]
    health: dict[str, object] = {"Test": test}
    for key, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value:
            seconds = parse_duration(value)
            if seconds is None or seconds < 0:
                raise UsageError(
                    f"HEALTHCHECK: {value[:40]!r} is no duration", remedy="write it like 30s, 1m30s"
                )
            nanoseconds = round(seconds * _NANOSECONDS)
            if 0 < nanoseconds < 1_000_000:
                raise UsageError(f"HEALTHCHECK: {value} is less than one millisecond")
            health[key] = nanoseconds
    if check.retries:
        if not check.retries.isdecimal() or len(check.retries) > 9:
            raise UsageError(f"HEALTHCHECK: --retries={check.retries[:40]} is no number")
        health["Retries"] = int(check.retries)
    config["Healthcheck"] = health
    return f"HEALTHCHECK {_shown(test)}"


_ACTIONS: "dict[type, Callable[..., str]]" = {
    model.Env: _env,
    model.Label: _label,
    model.User: _user,
    model.Expose: _expose,
    model.Volume: _volume,
    model.StopSignal: _stop_signal,
    model.Shell: _shell,
    model.Cmd: _cmd,
    model.Entrypoint: _entrypoint,
    model.Healthcheck: _healthcheck,
    model.Onbuild: _onbuild,
    model.Workdir: _workdir,
}
