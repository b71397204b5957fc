"""`--tz`: the rules of a time zone, as tzfile(5) has them on this host."""

import os

from rootless.errors import UsageError

_DIRECTORY = "/usr/share/zoneinfo"
_LOCAL = "/etc/localtime"
_MAGIC = b"TZif"
_LIMIT_BYTES = 1 << 20


def read_zone(name: str, *, directory: str = _DIRECTORY, local: str = _LOCAL) -> bytes:
    """Return the file of a zone (Europe/Paris), or of the host's own for `local`.

    Raises UsageError.
    """
    words = name.split("/")
    if name.startswith("/") or ".." in words or "\0" in name:
        raise UsageError(f"--tz {name}: not the name of a time zone", remedy="say Europe/Paris")
    path = local if name == "local" else os.path.join(directory, *words)
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT_BYTES)
    except OSError as error:
        raise UsageError(
            f"--tz {name}: read {path}: {error.strerror}",
            remedy="`ls /usr/share/zoneinfo` shows the zones of this host (package tzdata)",
        ) from error
    if not data.startswith(_MAGIC):
        raise UsageError(f"--tz {name}: {path} is no time zone file")
    return data
