"""`--ulimit`, `--stop-signal`, sizes of time: small texts that become numbers."""

import resource

from rootless.errors import UsageError
from rootless.linux import signals as signal
from rootless.sandbox import defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_UNLIMITED = 2**64 - 1
_MAX_DIGITS = len(str(_UNLIMITED))
_KNOWN = {
    name.removeprefix("RLIMIT_").lower(): name
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}


def make_rlimits(ulimits: "Iterable[str]") -> list[dict[str, object]]:
    """Return `process.rlimits`: the defaults, replaced by what `--ulimit` says.

    Raises UsageError for a name, a value or a hard limit that cannot be had.
    """
    chosen: dict[str, tuple[int, int]] = {
        kind: (soft, hard) for kind, soft, hard in defaults.rlimits(_own_hard_limit)
    }
    for text in ulimits:
        if text == "host":
            chosen = {}
            continue
        kind, soft, hard = _parse(text)
        chosen[kind] = (soft, hard)
    return [{"type": kind, "soft": soft, "hard": hard} for kind, (soft, hard) in chosen.items()]


def _own_hard_limit(kind: str) -> int:
    return resource.getrlimit(getattr(resource, kind))[1]


def _parse(text: str) -> tuple[str, int, int]:
    name, separator, value = text.partition("=")
    kind = _KNOWN.get(name.lower().removeprefix("rlimit_"))
    if kind is None or not separator:
        raise UsageError(
            f'--ulimit: invalid ulimit "{text}"',
            remedy="use NAME=SOFT[:HARD], NAME one of " + " ".join(sorted(_KNOWN)),
        )
    if value == "host":
        own = resource.getrlimit(getattr(resource, kind))
        return kind, own[0] % 2**64, own[1] % 2**64
    soft_text, _, hard_text = value.partition(":")
    soft = _number(text, soft_text)
    hard = _number(text, hard_text) if hard_text else soft
    if soft > hard:
        raise UsageError(f'ulimit "{text}": the soft limit is above the hard limit')
    limit = _own_hard_limit(kind)
    if limit >= 0 and hard > limit:
        raise UsageError(
            f'ulimit "{text}": your own hard limit is {limit}, and raising it takes privilege',
            remedy=f"use --ulimit {name}={min(soft, limit)}:{limit}",
        )
    return kind, soft, hard


def _number(text: str, value: str) -> int:
    if value in ("-1", "unlimited"):
        return _UNLIMITED
    if not value.isdecimal() or len(value) > _MAX_DIGITS:
        raise UsageError(f'--ulimit: invalid ulimit "{text[:80]}": {value[:80]!r} is not a number')
    return min(int(value), _UNLIMITED)


def clamp_oom_score(wanted: int, path: str = "/proc/self/oom_score_adj") -> int:
    """Return the nearest score that can be had: lowering one's own takes privilege (proc(5))."""
    if not -1000 <= wanted <= 1000:
        raise UsageError(f"--oom-score-adj {wanted}: must be between -1000 and 1000")
    try:
        with open(path, encoding="ascii") as file:
            return max(wanted, int(file.read()))
    except (OSError, ValueError):
        return max(wanted, 0)


def parse_signal(text: str) -> int:
    """Return the number for TERM, SIGTERM, 15, RTMIN+3. Raises UsageError."""
    name = text.upper().removeprefix("SIG")
    if _is_small(name) and 1 <= int(name) <= signal.SIGRTMAX:
        return int(name)
    for base, sign, origin in (("RTMIN", "+", signal.SIGRTMIN), ("RTMAX", "-", signal.SIGRTMAX)):
        offset = name.removeprefix(base + sign)
        if offset != name and _is_small(offset):
            number = int(origin) + int(sign + offset)
            if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                return number
    found = getattr(signal, f"SIG{name}", None)
    if isinstance(found, int) and not name.startswith("_"):
        return int(found)
    raise UsageError(f'invalid signal "{text[:80]}"', remedy="see `kill -l` for the names")


def _is_small(text: str) -> bool:
    return text.isdecimal() and len(text) <= 2


def signal_name(number: int) -> str:
    """Return SIGTERM for 15, SIGRTMIN+3 for 37."""
    if number > signal.SIGRTMIN:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    import signal as names

    try:
        return names.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # the two that the C library keeps for threads
