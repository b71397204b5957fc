"""generate systemd, quadlet."""

import os
import sys

from rootless.cli.output import write, write_json
from rootless.cli.reporting import report
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.quadlet import Unit
    from rootless.container.quadlet_files import QuadletFiles
    from rootless.host.paths import Host
    from storage.containers import ContainerView

_LEFT_OUT = (
    "image", "command", "detach", "rm", "replace", "name", "cgroups", "sdnotify", "cidfile",
    "interactive", "quiet",
)  # fmt: skip


def program() -> str:
    """Return the absolute path of this command, for units."""
    from rootless.host.programs import find_program

    path = sys.argv[0]
    if "/" in path:
        return os.path.abspath(path)
    return find_program(path) or path


def generate(invocation: "Invocation") -> int:
    """Print or write a unit for a container, or for all that restart at boot."""
    from rootless.container.query import find_view

    host = invocation.host()
    if invocation.flag("at_boot") == bool(invocation.text("container")):
        raise UsageError("generate systemd: name a container, or use --at-boot")
    if invocation.flag("at_boot"):
        return _hand_out(invocation, "rpod-restart.service", _restart_unit(host))
    found = find_view(host, invocation.text("container"))
    record = found.record
    own = record.name if invocation.flag("name") or invocation.flag("new") else record.id
    unit = f"{invocation.text('container_prefix')}{invocation.text('separator')}{own}.service"
    return _hand_out(invocation, unit, _unit(invocation, host, found, unit))


def _hand_out(invocation: "Invocation", unit: str, text: str) -> int:
    path = os.path.abspath(unit)
    if invocation.flag("files"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if invocation.text("format"):
        name = unit.removesuffix(".service")
        write_json({name: path if invocation.flag("files") else text})
    else:
        write(f"{path}\n" if invocation.flag("files") else text)
    return 0


def _own_relations(invocation: "Invocation") -> list[str]:
    """Return what the caller adds to [Unit]."""
    lines = []
    for option, key in (("wants", "Wants"), ("after", "After"), ("requires", "Requires")):
        if units := invocation.texts(option):
            lines.append(f"{key}={' '.join(_one_line(unit, option) for unit in units)}")
    return lines


def _own_settings(invocation: "Invocation") -> list[str]:
    """Return what the caller adds to [Service]."""
    from rootless.container.quadlet import command_line

    lines = []
    for text in invocation.texts("env"):
        name, separator, _ = text.partition("=")
        value = text if separator else f"{name}={os.environ.get(name, '')}"
        lines.append(f"Environment={command_line([_one_line(value, 'env')])}")
    if (start_s := invocation.number("start_timeout")) is not None:
        lines.append(f"TimeoutStartSec={start_s}")
    return lines


def _one_line(text: str, option: str) -> str:
    if not text or any(ord(letter) < 32 for letter in text):
        raise UsageError(f"--{option} {text!r}: a unit cannot have that")
    return text


def _own_words(host: "Host") -> list[str]:
    return [program(), "--root", host.layout.store] if _is_elsewhere(host) else [program()]


def _restart_unit(host: "Host") -> str:
    """Return the unit that does at boot what a daemon does elsewhere: restart policies."""
    from rootless.container.quadlet import command_line

    start = [*_own_words(host), "start", "--all", "--filter", "should-start-on-boot=true"]
    return "\n".join(
        ["[Unit]", "Description=rpod containers that their restart policy starts at boot",
         "Documentation=man:rpod-generate-systemd(1)", "Wants=network-online.target",
         "After=network-online.target", "", "[Service]", "Type=oneshot", "RemainAfterExit=yes",
         f"ExecStart={command_line(start)}", "", "[Install]", "WantedBy=default.target", ""]
    )  # fmt: skip


def _unit(invocation: "Invocation", host: "Host", found: "ContainerView", unit: str) -> str:
    from rootless.container.quadlet import command_line

    record = found.record
    grace_s = invocation.number("stop_timeout")
    if grace_s is None:
        grace_s = record.stop_timeout_s
    name = record.name if invocation.flag("name") or invocation.flag("new") else record.id
    own = _own_words(host)
    lines = [] if invocation.flag("no_header") else [f"# {unit}", "# made by rpod generate systemd"]
    lines += ["", "[Unit]", f"Description=rpod {unit}",
              "Documentation=man:rpod-generate-systemd(1)", "Wants=network-online.target",
              "After=network-online.target", *_own_relations(invocation), "", "[Service]",
              "Environment=PODMAN_SYSTEMD_UNIT=%n", *_own_settings(invocation),
              f"Restart={invocation.text('restart_policy')}",
              f"TimeoutStopSec={grace_s + 60}"]  # fmt: skip
    if (restart_s := invocation.number("restart_sec")) is not None:
        lines.append(f"RestartSec={restart_s}")
    stop = [*own, "stop", "--ignore", "--time", str(grace_s), name]
    if invocation.flag("new"):
        start = [*own, "run", "--rm", "--replace", "--name", record.name, "--cgroups=split",
                 "--sdnotify=conmon", *_options(found)]  # fmt: skip
        remove = [*own, "rm", "--force", "--ignore", name]
        lines += ["Type=notify", "NotifyAccess=all", "Delegate=yes", "KillMode=mixed",
                  f"ExecStart={command_line(start)}", f"ExecStop={command_line(stop)}",
                  f"ExecStopPost=-{command_line(remove)}"]  # fmt: skip
    else:
        start = [*own, "start", "--attach", name]
        lines += ["Type=exec", f"ExecStart={command_line(start)}",
                  f"ExecStop={command_line(stop)}"]  # fmt: skip
    lines += ["", "[Install]", "WantedBy=default.target", ""]
    return "\n".join(lines)


def _is_elsewhere(host: "Host") -> bool:
    return host.layout.store != f"{host.environ.get('HOME', '')}/.local/share/rpod"


def _options(found: "ContainerView") -> list[str]:
    """Return the words of `run` that make this container again."""
    from rootless.cli.spec_run import CREATE_OPTIONS

    asked = found.record.request
    words: list[str] = []
    for option in CREATE_OPTIONS:
        value = asked.get(option.field)
        if option.field in _LEFT_OUT or value is None:
            continue
        if isinstance(value, list | tuple):
            words += [f"--{option.name}={entry}" for entry in value]
        elif isinstance(value, bool):
            words.append(f"--{option.name}={str(value).lower()}")
        else:
            words.append(f"--{option.name}={value}")
    command = asked.get("command")
    image = str(asked.get("image") or found.record.image_name)
    return [*words, image, *(command if isinstance(command, list | tuple) else ())]


def quadlet(invocation: "Invocation") -> int:
    """Make services from Quadlet files; a file that is wrong is reported and left out."""
    from rootless.container.quadlet_files import QuadletFiles

    host = invocation.host(prepare=False)
    home = host.environ.get("HOME", "")
    config = host.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    own = host.environ.get("QUADLET_UNIT_DIRS", "")
    runtime = host.environ.get("XDG_RUNTIME_DIR", "")
    directories = own.split(":") if own else [
        *([f"{runtime}/containers/systemd"] if runtime else []),
        f"{config}/containers/systemd", f"/etc/containers/systemd/users/{host.uid}",
        "/etc/containers/systemd/users", "/usr/share/containers/systemd/users",
    ]  # fmt: skip
    units, failed = _units(QuadletFiles(directories))
    if invocation.flag("dry_run"):
        for unit in units:
            write(f"---{unit.name}---\n{unit.text}\n")
        return int(failed)
    output = invocation.text("output")
    _write_units(output or f"{config}/systemd/user", units)
    if not output:
        _reload(host)
        write("".join(f"{unit.name}\n" for unit in units))
    return int(failed)


def _units(files: "QuadletFiles") -> "tuple[list[Unit], bool]":
    from rootless.container.quadlet import make_unit

    units, failed = [], False
    for path in files.paths():
        try:
            units.append(make_unit(path, program(), files))
        except UsageError as error:
            report(error)
            failed = True
        except OSError as error:
            report(UsageError(f"read {path}: {error.strerror}"))
            failed = True
    return units, failed


def _write_units(directory: str, units: "list[Unit]") -> None:
    """Write the services and the links of WantedBy; remove those of files that have gone."""
    from rootless.container.quadlet import MARK

    os.makedirs(directory, exist_ok=True)
    names = {unit.name for unit in units}
    for name in os.listdir(directory):
        path = f"{directory}/{name}"
        if name.endswith(".service") and os.path.isfile(path) and name not in names:
            with open(path, encoding="utf-8", errors="replace") as file:
                is_ours = file.read(len(MARK)) == MARK
            if is_ours:
                os.unlink(path)
    for unit in units:
        path = f"{directory}/{unit.name}"
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                if file.read(len(MARK)) != MARK:
                    raise UsageError(f"write {path}: it is there, and not made by rpod quadlet")
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(unit.text)
        os.rename(f"{path}.new", path)
        for target in unit.wanted_by:
            wants = f"{directory}/{os.path.basename(target)}.wants"
            os.makedirs(wants, exist_ok=True)
            link = f"{wants}/{unit.name}"
            if not os.path.lexists(link):
                os.symlink(f"../{unit.name}", link)


def _reload(host: "Host") -> None:
    from rootless.linux.dbus import DBusError
    from rootless.linux.user_manager import UserManager, has_manager, runtime_directory

    runtime = runtime_directory(host.uid, host.environ)
    if not has_manager(runtime):
        host.note("no manager of yours runs: the services start with your next session")
        return
    try:
        manager = UserManager(runtime, timeout_s=60)
        try:
            manager.reload()
        finally:
            manager.close()
    except (OSError, DBusError) as error:
        host.note(f"systemd could not be told ({error}): systemctl --user daemon-reload")
