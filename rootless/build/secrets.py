"""`--secret` and `--ssh`: confidential things for a step, which no layer, key or log ever has."""

import os
import stat

from rootless.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextlib

_LIMIT_BYTES = 500 << 10
_AGENT_START_S = 10.0


class Secrets:
    """The secrets of the command line: `id=NAME[,src=PATH|,env=VARIABLE]`, `PATH`.

    Raises UsageError.
    """

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._sources: dict[str, tuple[str, str]] = {}
        for text in texts:
            fields = _fields(text, "--secret", ("id", "src", "source", "env", "type"))
            path = fields.get("src") or fields.get("source") or ""
            variable = fields.get("env", "")
            name = fields.get("id") or os.path.basename(path) or variable
            if not name:
                raise UsageError(f"--secret {text[:60]}: id=NAME is needed")
            kind = fields.get("type", "")
            if kind not in ("", "file", "env"):
                raise UsageError(f"--secret {text[:60]}: the type is file or env")
            if not path and not variable:
                path, variable = (name, "") if kind == "file" else ("", name)
                if kind == "" and name not in os.environ:
                    path, variable = name, ""
            elif path and kind == "env":
                path, variable = "", path
            self._sources[name] = ("env", variable) if variable else ("file", path)

    def read(self, name: str, *, required: bool) -> bytes | None:
        """Return a secret; None when it was not given and need not be. Raises UsageError."""
        source = self._sources.get(name)
        if source is None:
            if required:
                raise UsageError(
                    f"secret {name}: it was not given",
                    remedy=f"add --secret id={name},src=PATH or --secret id={name},env=VARIABLE",
                )
            return None
        kind, place = source
        if kind == "env":
            if place not in os.environ:
                raise UsageError(f"secret {name}: the variable {place} is not set")
            return os.environb[os.fsencode(place)]
        try:
            with open(place, "rb") as file:
                data = file.read(_LIMIT_BYTES + 1)
        except OSError as error:
            raise UsageError(f"secret {name}: read {place}: {error.strerror}") from error
        if len(data) > _LIMIT_BYTES:
            raise UsageError(f"secret {name}: {place} is larger than {_LIMIT_BYTES} bytes")
        return data


class SshAgents:
    """The agents of the command line: `default`, `ID`, `ID=SOCKET`, `ID=KEY[,KEY...]`."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._sources: dict[str, list[str]] = {}
        for text in texts:
            name, _, places = text.partition("=")
            self._sources[name or "default"] = [one for one in places.split(",") if one]

    def open(
        self, name: str, directory: str, stack: "contextlib.ExitStack", *, required: bool
    ) -> str | None:
        """Return the socket of an agent; one for keys is started, and ends with `stack`.

        Raises UsageError, HostError.
        """
        places = self._sources.get(name)
        if places is None:
            if required:
                raise UsageError(f"ssh {name}: it was not given", remedy=f"add --ssh {name}")
            return None
        if not places:
            places = [os.environ.get("SSH_AUTH_SOCK", "")]
            if not places[0]:
                raise UsageError(
                    f"--ssh {name}: SSH_AUTH_SOCK is not set",
                    remedy="start ssh-agent, or name a key: --ssh default=PATH",
                )
        try:
            modes = [os.stat(place).st_mode for place in places]
        except OSError as error:
            raise UsageError(f"--ssh {name}: {error.filename}: {error.strerror}") from error
        if stat.S_ISSOCK(modes[0]):
            return os.path.abspath(places[0])
        return _start_agent(places, directory, stack)


def _start_agent(keys: list[str], directory: str, stack: "contextlib.ExitStack") -> str:
    """Start an agent that knows these keys; its socket is in `directory`. Raises HostError."""
    import subprocess

    # The whole path may be longer than that of a socket can be: 107 bytes.
    name = "agent"

    try:
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", name], cwd=directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise HostError(
            f"start ssh-agent: {error.strerror}",
            remedy="install it: apt-get install openssh-client",
        ) from error
    stack.callback(agent.wait)
    stack.callback(agent.kill)
    assert agent.stdout is not None
    stack.callback(agent.stdout.close)
    agent.stdout.readline()  # its first line says that it listens
    for key in keys:
        added = subprocess.run(
            ["ssh-add", "-q", os.path.abspath(key)],
            env={**os.environ, "SSH_AUTH_SOCK": name, "SSH_ASKPASS_REQUIRE": "never"},
            cwd=directory,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_AGENT_START_S, check=False,
        )  # fmt: skip
        if added.returncode:
            said = added.stderr.decode(errors="replace").strip()
            raise HostError(f"--ssh: add the key {key}: {said}")
    return f"{directory}/{name}"


def _fields(text: str, option: str, known: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            name, value = "id", name
        if name.lower() not in known:
            raise UsageError(f"{option} {text[:60]}: unknown field {name[:40]!r}")
        found[name.lower()] = value
    return found
