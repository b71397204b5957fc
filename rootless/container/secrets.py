"""`--secret`: what of a container is confidential, copied for it when it is made.

A file lies in the container's directory and is bound in read-only; a variable is read when a
process starts. Neither is in config.json, container.json, the writable layer or a log.
"""

import os

from rootless.errors import UsageError
from rootless.linux.userns import to_host
from storage import lightjson as json
from storage.files import read_file
from storage.record import NamedTuple
from storage.secrets import SecretRecord, find_secret, secret_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.host.paths import Host
    from rootless.linux.userns import IdMaps
    from storage.layout import ContainerPaths

DIRECTORY = "/run/secrets"
_MODE = 0o444
_OPTIONS = ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"]


class SecretMount(NamedTuple):
    """One `--secret`; `target` is a path below or outside of /run/secrets, or a variable."""

    record: SecretRecord
    is_env: bool
    target: str
    uid: int = 0
    gid: int = 0
    mode: int = _MODE


def parse_secrets(host: "Host", texts: "Iterable[str]") -> list[SecretMount]:
    """Read `NAME[,type=mount|env][,target=][,uid=][,gid=][,mode=]` and find the secrets.

    Raises UsageError, SecretNotFound.
    """
    result = []
    targets = set()
    for text in texts:
        one = _parse(host, text)
        if (one.is_env, one.target) in targets:
            raise UsageError(f"--secret {text}: a secret is at {one.target} already")
        targets.add((one.is_env, one.target))
        result.append(one)
    return result


def _parse(host: "Host", text: str) -> SecretMount:
    fields = _fields(text)
    record = find_secret(host.layout, fields.get("source", ""))
    kind = fields.get("type", "mount")
    target = fields.get("target", "")
    if kind == "env":
        for key in ("uid", "gid", "mode"):
            if key in fields:
                raise UsageError(f"--secret {text}: {key} is for a file, not for type=env")
        target = target or record.name
        if "=" in target or not target.isprintable():
            raise UsageError(f"--secret {text}: {target!r} is no name of a variable")
        return SecretMount(record, True, target)
    if kind not in ("mount", "file"):
        raise UsageError(f'--secret {text}: type "{kind}" is invalid', remedy="use mount or env")
    target = os.path.normpath(f"{DIRECTORY}/{target or record.name}")
    if target.startswith("//"):
        target = target[1:]
    if not target.startswith(f"{DIRECTORY}/") and not fields.get("target", "").startswith("/"):
        raise UsageError(f"--secret {text}: the target leads out of {DIRECTORY}")
    if fields.get("target", "").startswith("/"):
        target = os.path.normpath(fields["target"])
    return SecretMount(
        record,
        False,
        target,
        _number(fields, "uid", 10, 0, text),
        _number(fields, "gid", 10, 0, text),
        _number(fields, "mode", 8, _MODE, text),
    )


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for position, word in enumerate(text.split(",")):
        key, separator, value = word.partition("=")
        if not separator and position == 0:
            key, value = "source", word
        if key not in ("source", "type", "target", "uid", "gid", "mode") or not value:
            raise UsageError(
                f'--secret {text}: invalid option "{word}"',
                remedy="use NAME[,type=mount|env][,target=TARGET][,uid=N][,gid=N][,mode=OCTAL]",
            )
        fields[key] = value
    return fields


def _number(fields: dict[str, str], key: str, base: int, default: int, text: str) -> int:
    if key not in fields:
        return default
    try:
        value = int(fields[key], base)
    except ValueError:
        value = -1
    if not 0 <= value < (2**32 - 1 if base == 10 else 0o10000):
        raise UsageError(f"--secret {text}: {key}={fields[key]} is out of range or no number")
    return value


def place(
    secrets: list[SecretMount],
    host: "Host",
    maps: "IdMaps",
    unpack_maps: "IdMaps",
    bundle: str,
    directory: str,
) -> list[dict[str, object]]:
    """Copy the secrets into a bundle and return what config.json mounts of them.

    `directory` is where the bundle will be. Raises UsageError, SecretNotFound.
    """
    variables: dict[str, str] = {}
    mounts: list[dict[str, object]] = []
    owners: dict[str, tuple[int, int, int]] = {}
    for position, one in enumerate(secrets):
        data = secret_data(host.layout, one.record)
        if one.is_env:
            variables[one.target] = _text(data, one)
            continue
        if to_host(maps.uids, one.uid) is None or to_host(maps.gids, one.gid) is None:
            raise UsageError(
                f"--secret {one.record.name},uid={one.uid},gid={one.gid}: the container has no such"
                " ids",
                remedy="leave uid and gid out, or choose ids that are mapped (--userns)",
            )
        if one.target.startswith(f"{DIRECTORY}/"):
            path = f"secrets/{one.target[len(DIRECTORY) + 1 :]}"
        else:
            path = f"secret-{position}"
            mounts.append(_mount(one.target, f"{directory}/{path}"))
        _write(f"{bundle}/{path}", data, one.mode)
        owners[f"{bundle}/{path}"] = (one.uid, one.gid, one.mode)
    if os.path.isdir(f"{bundle}/secrets"):
        mounts.insert(0, _mount(DIRECTORY, f"{directory}/secrets"))
    if variables:
        _write(f"{bundle}/secret-env.json", json.dumps(variables).encode(), 0o600)
    _give(owners, maps, unpack_maps)
    return mounts


def _mount(target: str, source: str) -> dict[str, object]:
    return {"destination": target, "type": "bind", "source": source, "options": _OPTIONS}


def _text(data: bytes, one: SecretMount) -> str:
    if b"\0" in data:
        raise UsageError(f"--secret {one.record.name},type=env: a variable cannot have a NUL in it")
    return os.fsdecode(data)


def _write(path: str, data: bytes, mode: int) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError("--secret: one target lies below another") from error
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _give(owners: dict[str, tuple[int, int, int]], maps: "IdMaps", unpack_maps: "IdMaps") -> None:
    """Let the files belong to ids of the container; those of the caller's own are right already."""
    own = (os.geteuid(), os.getegid())
    others = {
        path: (uid, gid, mode)
        for path, (uid, gid, mode) in owners.items()
        if (to_host(maps.uids, uid), to_host(maps.gids, gid)) != own
    }
    if not others:
        return
    from rootless.linux.userns import run_in_userns

    def give(_: object) -> None:
        for path, (uid, gid, mode) in others.items():
            os.chown(path, uid, gid)
            os.chmod(path, mode)  # chown(2) clears the setuid bits

    run_in_userns(give, unpack_maps)


def secret_variables(paths: "ContainerPaths") -> dict[bytes, bytes]:
    """Return the variables of a container whose values are secrets."""
    raw = json.loads(read_file(paths.secret_env))
    return {os.fsencode(name): os.fsencode(value) for name, value in raw.items()}


def describe(host: "Host", texts: "Iterable[str]") -> list[dict[str, object]]:
    """Return what inspect shows of the secrets that a container was made with."""
    result = []
    for text in texts:
        fields = _fields(text)
        name, identity = fields["source"], ""
        try:
            record = find_secret(host.layout, name)
            name, identity = record.name, record.id
        except Exception:  # noqa: BLE001, S110 - it has gone since, or is damaged: the name is left
            pass
        result.append(
            {
                "Name": name,
                "ID": identity,
                "UID": _number(fields, "uid", 10, 0, text),
                "GID": _number(fields, "gid", 10, 0, text),
                "Mode": _number(fields, "mode", 8, _MODE, text),
            }
        )
    return result
