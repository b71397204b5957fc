"""The words of a tmpfs: `--tmpfs PATH:OPTIONS`, `--mount type=tmpfs`."""

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PROPAGATION = (
    "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
)  # fmt: skip
_TMPFS_DEFAULTS = ("rw", "rprivate", "nosuid", "noexec", "nodev", "tmpcopyup")
TMPFS_FLAGS = (
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "tmpcopyup",
    "notmpcopyup", *PROPAGATION,
)  # fmt: skip
_OPPOSITES = {
    "suid": "nosuid", "dev": "nodev", "exec": "noexec", "rw": "ro", "notmpcopyup": "tmpcopyup",
    "ro": "rw",
}  # fmt: skip
# tmpfs(5); what the kernel would refuse without a word.
_TMPFS_VALUES = {
    "size": ("%kmgtpe", "0123456789", "a number with k, m, g or %"),
    "nr_inodes": ("kmg", "0123456789", "a number"),
    "mode": ("", "01234567", "an octal number"),
    "uid": ("", "0123456789", "a number"),
    "gid": ("", "0123456789", "a number"),
}


def tmpfs_options(options: "Iterable[str]", text: str) -> tuple[str, ...]:
    """Return the options of a tmpfs, the defaults among them. Raises UsageError."""
    chosen = list(_TMPFS_DEFAULTS)
    for word in options:
        name, separator, value = word.partition("=")
        if separator:
            _check_tmpfs_value(name, value, text)
            chosen = [kept for kept in chosen if not kept.startswith(f"{name}=")]
            chosen.append(word)
            continue
        if word not in TMPFS_FLAGS:
            raise UsageError(f'invalid tmpfs "{text}": unknown option "{word}"')
        opposite = _OPPOSITES.get(word)
        chosen = [kept for kept in chosen if kept not in (opposite, word)]
        chosen.append(word)
    if not any(word.startswith("mode=") for word in chosen):
        # Whoever the container runs as may use it, as with podman and docker.
        chosen.append("mode=1777")
    return tuple(chosen)


def _check_tmpfs_value(name: str, value: str, text: str) -> None:
    if name not in _TMPFS_VALUES or not value:
        raise UsageError(f'invalid tmpfs "{text}": unknown option "{name}={value}"')
    suffixes, digits, right = _TMPFS_VALUES[name]
    number = value[:-1] if value[-1].lower() in suffixes else value
    if not number or number.strip(digits):
        raise UsageError(f'invalid tmpfs "{text}": {name}={value}', remedy=f"use {right}")
