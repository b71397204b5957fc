"""Quadlet files (.container, .pod, .kube, .volume, .network, .image, .build) become services.

podman-systemd.unit(5), systemd.syntax(7). A file with a key that is not known makes no service: a
container that lacks what was written down is worse than none.
"""

import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Sections = dict[str, list[tuple[str, str]]]

KINDS = {".container": "Container", ".volume": "Volume", ".network": "Network", ".image": "Image",
         ".build": "Build", ".pod": "Pod", ".kube": "Kube"}  # fmt: skip
MARK = "# Made by rpod quadlet from "
_TEXTS = {
    "ContainerName": "name", "HostName": "hostname", "WorkingDir": "workdir", "UserNS": "userns",
    "Entrypoint": "entrypoint", "StopSignal": "stop-signal", "StopTimeout": "stop-timeout",
    "Timezone": "tz", "ShmSize": "shm-size", "PidsLimit": "pids-limit", "Memory": "memory",
    "Pull": "pull", "LogDriver": "log-driver", "IP": "ip", "IP6": "ip6",
    "HealthCmd": "health-cmd", "HealthInterval": "health-interval",
    "HealthRetries": "health-retries", "HealthTimeout": "health-timeout",
    "HealthStartupCmd": "health-startup-cmd", "HealthStartupInterval": "health-startup-interval",
    "HealthStartupRetries": "health-startup-retries",
    "HealthStartupSuccess": "health-startup-success",
    "HealthStartupTimeout": "health-startup-timeout",
    "HealthStartPeriod": "health-start-period", "HealthOnFailure": "health-on-failure",
}  # fmt: skip
_LISTS = {
    "Volume": "volume", "Mount": "mount", "PublishPort": "publish", "Network": "network",
    "AddHost": "add-host", "AddDevice": "device", "Tmpfs": "tmpfs", "Ulimit": "ulimit",
    "ExposeHostPort": "expose", "DNS": "dns", "DNSSearch": "dns-search", "DNSOption": "dns-option",
    "GroupAdd": "group-add", "Secret": "secret", "EnvironmentFile": "env-file",
    "NetworkAlias": "network-alias",
}  # fmt: skip
_WORDS = {
    "Environment": "env", "Label": "label", "Annotation": "annotation", "AddCapability": "cap-add",
    "DropCapability": "cap-drop", "Sysctl": "sysctl",
}  # fmt: skip
_SWITCHES = {
    "ReadOnly": "read-only", "ReadOnlyTmpfs": "read-only-tmpfs", "RunInit": "init",
    "EnvironmentHost": "env-host", "HttpProxy": "http-proxy",
}  # fmt: skip
_OTHERS = {
    "Volume": {"VolumeName": "", "Driver": "driver", "Label": "label", "Options": "opt",
               "Device": "opt device", "Type": "opt type"},
    "Network": {"NetworkName": "", "Driver": "driver", "Label": "label", "Subnet": "subnet",
                "Gateway": "gateway", "IPRange": "ip-range", "IPv6": "ipv6", "Internal": "internal",
                "Options": "opt", "DNS": "dns", "DisableDNS": "disable-dns"},
    "Image": {"Image": "", "AuthFile": "authfile", "Creds": "creds", "TLSVerify": "tls-verify",
              "Arch": "arch", "OS": "os", "Variant": "variant", "AllTags": "all-tags"},
    "Build": {"ImageTag": "tag", "File": "file", "SetWorkingDirectory": "", "Target": "target",
              "Label": "label", "Environment": "env", "Pull": "pull", "Volume": "volume",
              "Network": "network", "Secret": "secret", "AuthFile": "authfile"},
}  # fmt: skip
_POD = {
    "AddHost": "add-host", "DNS": "dns", "DNSOption": "dns-option", "DNSSearch": "dns-search",
    "ExitPolicy": "exit-policy", "HostName": "hostname", "IP": "ip", "IP6": "ip6",
    "Label": "label", "Network": "network", "NetworkAlias": "network-alias",
    "PublishPort": "publish", "ShmSize": "shm-size", "UserNS": "userns", "Volume": "volume",
}  # fmt: skip
_KUBE = {
    "ConfigMap": "configmap", "LogDriver": "log-driver", "Network": "network",
    "PublishPort": "publish", "UserNS": "userns",
}  # fmt: skip
_SWITCH_OPTIONS = ("ipv6", "internal", "disable-dns", "all-tags", "tls-verify")
_TRUE, _FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")


class Unit:
    """A service that was made: its file name, its text, what wants it."""

    __slots__ = ("name", "text", "wanted_by")

    def __init__(self, name: str, text: str, wanted_by: list[str]) -> None:
        self.name = name
        self.text = text
        self.wanted_by = wanted_by


def parse(text: str, where: str) -> "Sections":
    """Read a unit file: keys may be repeated, a backslash goes on. Raises UsageError."""
    sections: Sections = {}
    current: list[tuple[str, str]] | None = None
    pending = ""
    for number, raw in enumerate(text.splitlines(), 1):
        if pending and raw.lstrip().startswith(("#", ";")):
            continue
        line = pending + raw
        pending = ""
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            current = sections.setdefault(line[1:-1], [])
            continue
        key, separator, value = line.partition("=")
        if not separator or current is None:
            raise UsageError(f"read {where}, line {number}: not KEY=VALUE in a section")
        current.append((key.strip(), value.strip()))
    return sections


def split_words(text: str, where: str) -> list[str]:
    """Split as systemd does for our purposes: blanks, both kinds of quotes. Raises UsageError."""
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"read {where}: {text[:80]!r}: {error}") from error


def make_unit(path: str, text: str, program: str) -> Unit:
    """Return the service for a Quadlet file. Raises UsageError for what cannot be done."""
    stem, kind = os.path.splitext(os.path.basename(path))
    section = KINDS.get(kind)
    if section is None:
        raise UsageError(f"read {path}: {kind or 'this'} is no kind of Quadlet file here")
    sections = parse(text, path)
    if section not in sections:
        raise UsageError(f"read {path}: there is no section [{section}]")
    maker = _Maker(path, stem, program, sections)
    makers = {".container": maker.container, ".pod": maker.pod, ".kube": maker.kube}
    service = makers[kind]() if kind in makers else maker.once(section)
    suffix = "" if kind in (".container", ".kube") else f"-{kind[1:]}"
    wanted = [word for key, value in sections.get("Install", []) if key == "WantedBy"
              for word in value.split()]  # fmt: skip
    return Unit(f"{stem}{suffix}.service", maker.text(section, service), wanted)


class _Maker:
    """Turns the keys of one file into command lines."""

    __slots__ = ("_bound", "_keys", "_needs", "_path", "_program", "_sections", "_stem", "_wants")

    def __init__(self, path: str, stem: str, program: str, sections: "Sections") -> None:
        self._path, self._stem, self._program = path, stem, program
        self._sections = sections
        self._needs: list[str] = []
        self._bound: list[str] = []
        self._wants: list[str] = []
        self._keys: list[tuple[str, str]] = []

    def container(self) -> list[str]:
        """Return the lines of [Service] for a container."""
        self._keys = self._sections["Container"]
        values = dict(self._keys)
        name = values.get("ContainerName", f"systemd-{self._stem}")
        notify = values.get("Notify", "false").lower()
        mode = "container" if notify in _TRUE else "conmon"
        if notify == "healthy":
            mode = notify
        image = values.get("Image", "")
        if not image:
            raise UsageError(f"read {self._path}: [Container] needs Image=")
        run = [self._program, *self._global_words(), "run", "--rm", "--replace", "--name", name,
               "--cgroups=split", f"--sdnotify={mode}"]  # fmt: skip
        for key, value in self._keys:
            if key not in ("ContainerName", "Image", "Notify", "Exec", "GlobalArgs", "Group"):
                run += self._option(key, value, values)
        run.append(self._depend(image, "image", "build"))
        run += split_words(values.get("Exec", ""), self._path)
        grace_s = values.get("StopTimeout", "10")
        stop = [self._program, "stop", "--ignore", "--time", grace_s, name]
        remove = [self._program, "rm", "--force", "--ignore", "--volumes", name]
        return [
            "Environment=PODMAN_SYSTEMD_UNIT=%n", "Type=notify", "NotifyAccess=all",
            "KillMode=mixed", "Delegate=yes", "SyslogIdentifier=%N",
            f"ExecStart={_line(run)}", f"ExecStop={_line(stop)}", f"ExecStopPost=-{_line(remove)}",
        ]  # fmt: skip

    def pod(self) -> list[str]:
        """Return the lines of [Service] for a pod: its main process is the infra container's."""
        self._keys = self._sections["Pod"]
        values = dict(self._keys)
        name = values.get("PodName", f"systemd-{self._stem}")
        infra, rpod = f"{name}-infra", [self._program, *self._global_words()]
        create = [*rpod, "pod", "create", "--replace", "--infra-name", infra, "--name", name]
        if "ExitPolicy" not in values:
            create += ["--exit-policy", "stop"]
        for key, value in self._keys:
            if key not in ("PodName", "GlobalArgs", "StopTimeout"):
                create += self._known_option(key, value, _POD)
        self._wants = [f"{stem}.service" for stem in self._members()]
        start = [*rpod, "start", "--attach", infra]
        stop = [*rpod, "pod", "stop", "--ignore", "--time", values.get("StopTimeout", "10"), name]
        remove = [*rpod, "pod", "rm", "--force", "--ignore", name]
        return [
            "Environment=PODMAN_SYSTEMD_UNIT=%n", "Type=notify", "NotifyAccess=all",
            "KillMode=mixed", "Delegate=yes", "SyslogIdentifier=%N",
            f"ExecStartPre={_line(create)}", f"ExecStart={_line(start)}",
            f"ExecStop={_line(stop)}", f"ExecStopPost=-{_line(remove)}",
        ]  # fmt: skip

    def _members(self) -> list[str]:
        """Return the stems of the container files beside this one that are in the pod."""
        directory = os.path.dirname(self._path)
        found = []
        for path in quadlet_files([directory]):
            stem, kind = os.path.splitext(os.path.basename(path))
            if kind != ".container":
                continue
            try:
                with open(path, encoding="utf-8") as file:
                    values = dict(parse(file.read(), path).get("Container", []))
            except (OSError, UsageError):
                continue  # it is reported on its own
            if values.get("Pod") == f"{self._stem}.pod":
                found.append(stem)
        return found

    def kube(self) -> list[str]:
        """Return the lines of [Service] for a file of Kubernetes: up until it is stopped."""
        self._keys = self._sections["Kube"]
        values = dict(self._keys)
        directory = os.path.dirname(self._path)
        if not values.get("Yaml"):
            raise UsageError(f"read {self._path}: [Kube] needs Yaml=")
        file = os.path.join(directory, values["Yaml"])
        rpod = [self._program, *self._global_words()]
        play = [*rpod, "kube", "play", "--replace"]
        for key, value in self._keys:
            if key == "ConfigMap":
                play += ["--configmap", os.path.join(directory, value)]
            elif key not in ("Yaml", "GlobalArgs", "KubeDownForce", "SetWorkingDirectory"):
                play += self._known_option(key, value, _KUBE)
        down = [*rpod, "kube", "down"]
        if self._switch("KubeDownForce", values.get("KubeDownForce", "no")):
            down.append("--force")
        lines = ["Environment=PODMAN_SYSTEMD_UNIT=%n", "Type=oneshot", "RemainAfterExit=yes"]
        if where := values.get("SetWorkingDirectory"):
            places = {"yaml": os.path.dirname(file), "unit": directory}
            lines.append(f"WorkingDirectory={places.get(where.lower(), where)}")
        return [
            *lines, "SyslogIdentifier=%N", f"ExecStart={_line([*play, file])}",
            f"ExecStop={_line([*down, file])}", f"ExecStopPost=-{_line([*down, file])}",
        ]  # fmt: skip

    def _known_option(self, key: str, value: str, known: dict[str, str]) -> list[str]:
        if key in ("PodmanArgs", "ServiceName"):
            return split_words(value, self._path) if key == "PodmanArgs" else []
        if key not in known:
            raise self._unknown(key)
        if key in ("Volume", "Network"):
            value = self._depend(value, key.lower())
        if key == "Label":
            return [part for word in split_words(value, self._path) for part in ("--label", word)]
        return [f"--{known[key]}", value]

    def once(self, section: str) -> list[str]:
        """Return the lines of [Service] for what is made once."""
        self._keys = self._sections[section]
        values = dict(self._keys)
        known = _OTHERS[section]
        words: list[str] = []
        for key, value in self._keys:
            if key in ("PodmanArgs", "GlobalArgs", "ServiceName"):
                words += split_words(value, self._path) if key == "PodmanArgs" else []
            elif key not in known:
                raise self._unknown(key)
            elif option := known[key]:
                name, _, prefix = option.partition(" ")
                if name in _SWITCH_OPTIONS:
                    words.append(f"--{name}={str(self._switch(key, value)).lower()}")
                else:
                    words += [f"--{name}", f"{prefix}={value}" if prefix else value]
        name = values.get(f"{section}Name", f"systemd-{self._stem}")
        commands = {
            "Volume": ["volume", "create", "--ignore", *words, name],
            "Network": ["network", "create", "--ignore", *words, name],
            "Image": ["pull", *words, values.get("Image", "")],
            "Build": ["build", *words, values.get("SetWorkingDirectory", "%h")],
        }
        line = _line([self._program, *self._global_words(), *commands[section]])
        return ["Type=oneshot", "RemainAfterExit=yes", f"ExecStart={line}", "SyslogIdentifier=%N"]

    def text(self, section: str, service: list[str]) -> str:
        """Return the service's file, with the sections that are systemd's own kept."""
        lines = [f"{MARK}{self._path}", "", "[Unit]", f"SourcePath={self._path}",
                 "Wants=network-online.target", "After=network-online.target"]  # fmt: skip
        for need in dict.fromkeys(self._needs):
            lines += [f"Requires={need}", f"After={need}"]
        for pod in self._bound:
            lines += [f"BindsTo={pod}", f"After={pod}"]
        for member in self._wants:
            lines += [f"Wants={member}", f"Before={member}"]
        lines += _own(self._sections, "Unit")
        own = self._sections.get("Service", [])
        lines += ["", "[Service]", *service, *(f"{key}={value}" for key, value in own)]
        if "Install" in self._sections:
            lines += ["", "[Install]", *_own(self._sections, "Install")]
        lines += ["", f"[X-{section}]", *_own(self._sections, section), ""]
        return "\n".join(lines)

    def _global_words(self) -> list[str]:
        texts = [value for key, value in self._keys if key == "GlobalArgs"]
        return [word for text in texts for word in split_words(text, self._path)]

    def _option(self, key: str, value: str, values: dict[str, str]) -> list[str]:
        if key in _TEXTS:
            return [f"--{_TEXTS[key]}", value]
        if key in _LISTS:
            if key in ("Volume", "Network"):
                value = self._depend(value, key.lower())
            return [f"--{_LISTS[key]}", value]
        if key in _WORDS:
            words = split_words(value, self._path)
            return [part for word in words for part in (f"--{_WORDS[key]}", word)]
        if key in _SWITCHES:
            return [f"--{_SWITCHES[key]}={str(self._switch(key, value)).lower()}"]
        if key == "User":
            group = values.get("Group", "")
            return ["--user", f"{value}:{group}" if group else value]
        if key == "NoNewPrivileges":
            return ["--security-opt", "no-new-privileges"] if self._switch(key, value) else []
        if key == "SeccompProfile":
            return ["--security-opt", f"seccomp={value}"]
        if key in ("Mask", "Unmask"):
            return ["--security-opt", f"{key.lower()}={value}"]
        if key == "AutoUpdate":
            return ["--label", f"io.containers.autoupdate={value}"]
        if key == "Pod":
            return ["--pod", self._pod_of(value)]
        return self._known_option(key, value, {})

    def _pod_of(self, value: str) -> str:
        """Return the name of a pod's file; the container's service goes with the pod's."""
        if not value.endswith(".pod"):
            raise UsageError(f"read {self._path}: Pod={value}: not the name of a .pod file")
        needs = self._needs
        self._needs = []
        name = self._depend(value, "pod")
        self._bound, self._needs = self._needs, needs
        return name

    def _depend(self, value: str, *kinds: str) -> str:
        """Return the name that a reference to another Quadlet file stands for."""
        name, colon, rest = value.partition(":")
        stem, dot, kind = name.rpartition(".")
        if not dot or kind not in kinds:
            return value
        self._needs.append(f"{stem}-{kind}.service")
        other = f"{os.path.dirname(self._path)}/{name}"
        try:
            with open(other, encoding="utf-8") as file:
                values = dict(parse(file.read(), other).get(KINDS[f".{kind}"], []))
        except OSError as error:
            raise UsageError(f"read {self._path}: {name}: {error.strerror}") from error
        key = {"image": "Image", "build": "ImageTag"}.get(kind, f"{KINDS[f'.{kind}']}Name")
        return values.get(key, f"systemd-{stem}") + colon + rest

    def _switch(self, key: str, value: str) -> bool:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise UsageError(f"read {self._path}: {key}={value}: neither true nor false")
        return value.lower() in _TRUE

    def _unknown(self, key: str) -> UsageError:
        return UsageError(f"read {self._path}: {key}= is not known here")


def _own(sections: "Sections", name: str) -> list[str]:
    return [f"{key}={value}" for key, value in sections.get(name, [])]


def _line(words: "Iterable[str]") -> str:
    """Return a command line for systemd (systemd.service(5), command lines)."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if word and all(letter.isalnum() or letter in "-_./:=,@%+~" for letter in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def command_line(words: "Iterable[str]") -> str:
    """Return words as ExecStart takes them, with nothing expanded."""
    return _line(word.replace("%", "%%") for word in words)


def quadlet_files(directories: "Iterable[str]") -> list[str]:
    """Return the files, sorted; one in an earlier directory hides one of the same name."""
    found: dict[str, str] = {}
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if os.path.splitext(name)[1] in KINDS:
                found.setdefault(name, f"{directory}/{name}")
    return sorted(found.values())
