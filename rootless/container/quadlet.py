"""Quadlet files (.container, .pod, .kube, .volume, .network, .image, .build) become services.

podman-systemd.unit(5). A file with a key that is not known makes no service: a container that lacks
what was written down is worse than none.
"""

import os

from rootless.container import quadlet_keys as keys
from rootless.container.quadlet_files import QuadletFiles, split_words
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.container.quadlet_files import Sections

MARK = "# Made by rpod quadlet from "
_TRUE, _FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")
# What the maker of a container's command looks at itself.
_OWN_KEYS = ("ContainerName", "Image", "Rootfs", "Notify", "Exec", "GlobalArgs", "Group",
             "CgroupsMode", "ReloadCmd", "ReloadSignal", "ServiceName", "StartWithPod")  # fmt: skip
_SERVICE = ("Environment=PODMAN_SYSTEMD_UNIT=%n", "Type=notify", "NotifyAccess=all",
            "KillMode=mixed", "Delegate=yes", "SyslogIdentifier=%N")  # fmt: skip
_URLS = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")


class Unit:
    """A service that was made: its file name, its text, what wants it."""

    __slots__ = ("name", "text", "wanted_by")

    def __init__(self, name: str, text: str, wanted_by: list[str]) -> None:
        self.name = name
        self.text = text
        self.wanted_by = wanted_by


def make_unit(path: str, program: str, files: QuadletFiles) -> Unit:
    """Return the service for a Quadlet file.

    Raises UsageError for what cannot be done, OSError.
    """
    stem, kind = os.path.splitext(os.path.basename(path))
    section = keys.KINDS.get(kind)
    if section is None:
        raise UsageError(f"read {path}: {kind or 'this'} is no kind of Quadlet file here")
    sections = files.sections(path)
    if section not in sections:
        raise UsageError(f"read {path}: there is no section [{section}]")
    maker = _Maker(path, stem, program, sections, files)
    makers = {".container": maker.container, ".pod": maker.pod, ".kube": maker.kube}
    service = makers[kind]() if kind in makers else maker.once(section)
    wanted = [word for key, value in sections.get("Install", []) if key == "WantedBy"
              for word in value.split()]  # fmt: skip
    name = _service_name(stem, kind[1:], dict(sections[section]))
    return Unit(name, maker.text(section, service), wanted)


def _service_name(stem: str, kind: str, values: dict[str, str]) -> str:
    """Return the name of the service that a file becomes: web.service, data-volume.service."""
    if name := values.get("ServiceName", ""):
        return name if name.endswith(".service") else f"{name}.service"
    return f"{stem}.service" if kind in ("container", "kube") else f"{stem}-{kind}.service"


def _object_name(stem: str) -> str:
    """Return the name of what a file makes where it names none."""
    return "systemd-%p_%i" if "@" in stem else f"systemd-{stem}"


class _Maker:
    """Turns the keys of one file into command lines."""

    __slots__ = ("_bound", "_files", "_keys", "_needs", "_path", "_program", "_sections", "_stem",
                 "_wants")  # fmt: skip

    def __init__(
        self, path: str, stem: str, program: str, sections: "Sections", files: QuadletFiles
    ) -> None:
        self._path, self._stem, self._program = path, stem, program
        self._files = files
        self._sections = sections
        self._needs: list[str] = []
        self._bound: list[str] = []
        self._wants: list[str] = []
        self._keys: list[tuple[str, str]] = []

    def container(self) -> list[str]:
        """Return the lines of [Service] for a container."""
        self._keys = self._sections["Container"]
        values = dict(self._keys)
        name = values.get("ContainerName", _object_name(self._stem))
        notify = values.get("Notify", "false").lower()
        mode = "container" if notify in _TRUE else "conmon"
        if notify == "healthy":
            mode = notify
        image, rootfs = values.get("Image", ""), values.get("Rootfs", "")
        if bool(image) == bool(rootfs):
            raise UsageError(f"read {self._path}: [Container] needs Image= or Rootfs=, one of them")
        rpod = [self._program, *self._global_words()]
        run = [*rpod, "run", "--rm", "--replace", "--name", name,
               f"--cgroups={values.get('CgroupsMode', 'split')}", f"--sdnotify={mode}"]  # fmt: skip
        for key, value in self._keys:
            if key not in _OWN_KEYS:
                run += self._option(key, value, values)
        run += ["--rootfs", rootfs] if rootfs else [self._depend(image, "image", "build")]
        run += split_words(values.get("Exec", ""), self._path)
        grace_s = values.get("StopTimeout", "10")
        stop = [*rpod, "stop", "--ignore", "--time", grace_s, name]
        remove = [*rpod, "rm", "--force", "--ignore", "--volumes", name]
        return [
            *_SERVICE, f"ExecStart={_line(run)}", *self._reload(rpod, name, values),
            f"ExecStop={_line(stop)}", f"ExecStopPost=-{_line(remove)}",
        ]  # fmt: skip

    def _reload(self, rpod: list[str], name: str, values: dict[str, str]) -> list[str]:
        command, signal = values.get("ReloadCmd", ""), values.get("ReloadSignal", "")
        if command and signal:
            raise UsageError(f"read {self._path}: ReloadCmd= and ReloadSignal= exclude each other")
        if command:
            words = ["exec", name, *split_words(command, self._path)]
        elif signal:
            words = ["kill", "--signal", signal, name]
        else:
            return []
        return [f"ExecReload={_line([*rpod, *words])}"]

    def pod(self) -> list[str]:
        """Return the lines of [Service] for a pod: its main process is the infra container's."""
        self._keys = self._sections["Pod"]
        values = dict(self._keys)
        name = values.get("PodName", _object_name(self._stem))
        infra, rpod = f"{name}-infra", [self._program, *self._global_words()]
        create = [*rpod, "pod", "create", "--replace", "--infra-name", infra, "--name", name]
        if "ExitPolicy" not in values:
            create += ["--exit-policy", "stop"]
        for key, value in self._keys:
            if key not in ("PodName", "GlobalArgs", "StopTimeout"):
                create += self._known_option(key, value, keys.POD)
        self._wants = self._members()
        start = [*rpod, "start", "--attach", infra]
        stop = [*rpod, "pod", "stop", "--ignore", "--time", values.get("StopTimeout", "10"), name]
        remove = [*rpod, "pod", "rm", "--force", "--ignore", name]
        return [
            *_SERVICE,
            f"ExecStartPre={_line(create)}", f"ExecStart={_line(start)}",
            f"ExecStop={_line(stop)}", f"ExecStopPost=-{_line(remove)}",
        ]  # fmt: skip

    def _members(self) -> list[str]:
        """Return the services of the container files that are in the pod and start with it."""
        found = []
        for path in self._files.paths():
            stem, kind = os.path.splitext(os.path.basename(path))
            if kind != ".container":
                continue
            try:
                values = dict(self._files.sections(path).get("Container", []))
                with_pod = self._switch("StartWithPod", values.get("StartWithPod", "yes"))
            except (OSError, UsageError):
                continue  # it is reported on its own
            if with_pod and values.get("Pod") == f"{self._stem}.pod":
                found.append(_service_name(stem, "container", values))
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
            elif key == "AutoUpdate":
                play += ["--annotation", f"io.containers.autoupdate={value}"]
            elif key not in ("Yaml", "GlobalArgs", "KubeDownForce", "SetWorkingDirectory"):
                play += self._known_option(key, value, keys.KUBE)
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
            value = self._source(key, value)
        if known[key] in keys.WORD_OPTIONS:
            words = split_words(value, self._path)
            return [part for word in words for part in (f"--{known[key]}", word)]
        return [f"--{known[key]}", value]

    def _source(self, key: str, value: str) -> str:
        """Return what Volume= and Network= name, with what other files make in its place."""
        if key == "Network":
            name, colon, rest = value.partition(":")
            if name.endswith(".container"):
                return f"container:{self._depend(name, 'container')}{colon}{rest}"
            return self._depend(value, "network")
        if value.startswith("."):
            path, colon, rest = value.partition(":")
            return self._beside(path) + colon + rest
        return self._depend(value, "volume")

    def _beside(self, path: str) -> str:
        """Return a path that is relative to the file's directory; a specifier begins another."""
        if path.startswith(("/", "%")):
            return path
        return os.path.normpath(os.path.join(os.path.dirname(self._path), path))

    def once(self, section: str) -> list[str]:
        """Return the lines of [Service] for what is made once."""
        self._keys = self._sections[section]
        values = dict(self._keys)
        known = keys.OTHERS[section]
        words: list[str] = []
        for key, value in self._keys:
            if key in ("PodmanArgs", "GlobalArgs", "ServiceName"):
                words += split_words(value, self._path) if key == "PodmanArgs" else []
            elif key not in known:
                raise self._unknown(key)
            elif option := known[key]:
                name, _, prefix = option.partition(" ")
                if name in keys.SWITCH_OPTIONS:
                    words.append(f"--{name}={str(self._switch(key, value)).lower()}")
                elif prefix:
                    words += [f"--{name}", f"{prefix}={value}"]
                else:
                    words += self._known_option(key, value, known)
        makers = {"Volume": self._volume, "Network": self._network, "Image": self._image,
                  "Build": self._build}  # fmt: skip
        command, more = makers[section](words, values)
        line = _line([self._program, *self._global_words(), *command])
        return ["Type=oneshot", "RemainAfterExit=yes", f"ExecStart={line}", *more,
                "SyslogIdentifier=%N"]  # fmt: skip

    def _volume(self, words: list[str], values: dict[str, str]) -> tuple[list[str], list[str]]:
        if values.get("Driver") == "image":
            image = self._depend(values.get("Image", ""), "image", "build")
            if not image:
                raise UsageError(f"read {self._path}: Driver=image needs Image=")
            words += ["--opt", f"image={image}"]
        options = [f"{word}={values[key]}" for key, word in (("User", "uid"), ("Group", "gid"))
                   if key in values]  # fmt: skip
        options += [value for key, value in self._keys if key == "Options"]
        if options:
            words += ["--opt", f"o={','.join(options)}"]
        name = values.get("VolumeName", _object_name(self._stem))
        return ["volume", "create", "--ignore", *words, name], []

    def _network(self, words: list[str], values: dict[str, str]) -> tuple[list[str], list[str]]:
        name = values.get("NetworkName", _object_name(self._stem))
        more = []
        if self._switch("NetworkDeleteOnStop", values.get("NetworkDeleteOnStop", "no")):
            remove = [self._program, *self._global_words(), "network", "rm", "--force", name]
            more.append(f"ExecStopPost={_line(remove)}")
        return ["network", "create", "--ignore", *words, name], more

    def _image(self, words: list[str], values: dict[str, str]) -> tuple[list[str], list[str]]:
        if not values.get("Image"):
            raise UsageError(f"read {self._path}: [Image] needs Image=")
        return ["pull", *words, values["Image"]], []

    def _build(self, words: list[str], values: dict[str, str]) -> tuple[list[str], list[str]]:
        """Return the command; its directory is that of the file, of the unit, or one that is named.

        What [Service] says of the working directory goes first.
        """
        if not values.get("ImageTag"):
            raise UsageError(f"read {self._path}: [Build] needs ImageTag=")
        file, where = values.get("File", ""), values.get("SetWorkingDirectory", "")
        own = dict(self._sections.get("Service", [])).get("WorkingDirectory", "")
        context, base = self._beside(where), os.path.dirname(self._path)
        if own:
            context = base = own
        elif where.lower() == "unit":
            context = base
        elif where.lower() == "file" and file:
            context = os.path.dirname(self._beside(file))
        elif where and where.lower() != "file":
            context = where if _is_url(where) else self._beside(where)
            base = context
        elif not file or not (file.startswith(("/", "%")) or _is_url(file)):
            raise UsageError(
                f"read {self._path}: [Build] needs SetWorkingDirectory= with a File= that is not"
                " an absolute path"
            )
        else:
            context = "%h"
        if file:
            is_whole = _is_url(file) or file.startswith(("/", "%")) or _is_url(base)
            words += ["--file", file if is_whole else os.path.normpath(os.path.join(base, file))]
        return ["build", *words, context], []

    def text(self, section: str, service: list[str]) -> str:
        """Return the service's file, with the sections that are systemd's own kept."""
        lines = [f"{MARK}{self._path}", "", "[Unit]", f"SourcePath={self._path}",
                 *self._defaults()]  # fmt: skip
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

    def _defaults(self) -> list[str]:
        wanted = dict(self._sections.get("Quadlet", [])).get("DefaultDependencies", "yes")
        if not self._switch("DefaultDependencies", wanted):
            return []
        return ["Wants=network-online.target", "After=network-online.target"]

    def _global_words(self) -> list[str]:
        texts = [value for key, value in self._keys if key == "GlobalArgs"]
        return [word for text in texts for word in split_words(text, self._path)]

    def _option(self, key: str, value: str, values: dict[str, str]) -> list[str]:
        if key in keys.TEXTS:
            return [f"--{keys.TEXTS[key]}", value]
        if key in keys.LISTS:
            return self._list_option(key, value)
        if key in keys.WORDS:
            words = split_words(value, self._path)
            return [part for word in words for part in (f"--{keys.WORDS[key]}", word)]
        if key in keys.SWITCHES:
            return [f"--{keys.SWITCHES[key]}={str(self._switch(key, value)).lower()}"]
        if key in keys.SECURITY:
            value = self._beside(value) if value.startswith(".") else value
            return ["--security-opt", keys.SECURITY[key] + value]
        if key in keys.SECURITY_SWITCHES:
            word = keys.SECURITY_SWITCHES[key]
            return ["--security-opt", word] if self._switch(key, value) else []
        if key == "User":
            group = values.get("Group", "")
            return ["--user", f"{value}:{group}" if group else value]
        if key == "AutoUpdate":
            return ["--label", f"io.containers.autoupdate={value}"]
        if key == "Pod":
            return ["--pod", self._pod_of(value)]
        return self._known_option(key, value, {})

    def _list_option(self, key: str, value: str) -> list[str]:
        if key in ("Volume", "Network"):
            value = self._source(key, value)
        elif key == "EnvironmentFile":
            value = self._beside(value)
        elif key == "Mount":
            value = ",".join(self._mount_field(field) for field in value.split(","))
        elif key == "AddDevice" and value.startswith("-"):
            value = value[1:]
            if not os.path.exists(value.partition(":")[0]):
                return []  # it is wanted where it is there
        return [f"--{keys.LISTS[key]}", value]

    def _mount_field(self, field: str) -> str:
        name, equals, value = field.partition("=")
        if name not in ("source", "src"):
            return field
        if value.startswith("."):
            return name + equals + self._beside(value)
        return name + equals + self._depend(value, "volume", "image", "build")

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
        other = self._files.path(name, self._path)
        try:
            values = dict(self._files.sections(other).get(keys.KINDS[f".{kind}"], []))
        except OSError as error:
            raise UsageError(f"read {self._path}: {name}: {error.strerror}") from error
        self._needs.append(_service_name(stem, kind, values))
        if kind in ("image", "build"):
            made = values.get("ImageTag") or values.get("Image", "")
        else:
            made = values.get(f"{keys.KINDS[f'.{kind}']}Name") or _object_name(stem)
        return made + colon + rest

    def _switch(self, key: str, value: str) -> bool:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise UsageError(f"read {self._path}: {key}={value}: neither true nor false")
        return value.lower() in _TRUE

    def _unknown(self, key: str) -> UsageError:
        return UsageError(f"read {self._path}: {key}= is not known here")


def _is_url(text: str) -> bool:
    return text.startswith(_URLS)


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
