"""Moments as people type them: a duration before now, seconds since 1970, or RFC 3339."""

_UNITS_S = {
    "ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
    "d": 86400.0, "w": 604800.0,
}  # fmt: skip
# Whatever lies beyond has no text of the usual length; nothing was ever logged or made there.
_FIRST_S, _LAST_S = 0.0, 253_402_300_799.0


def parse_duration(text: str) -> float | None:
    """Return seconds for 10m, 1h30m, 250ms, 1.5h, 2d; None when the text is no duration."""
    rest = text.strip()
    sign = -1 if rest.startswith("-") else 1
    rest = rest[1:] if rest[:1] in ("+", "-") else rest
    if not rest:
        return None
    total_s = 0.0
    while rest:
        digits = 0
        while digits < len(rest) and rest[digits] in "0123456789.":
            digits += 1
        letters = digits
        while letters < len(rest) and rest[letters] not in "0123456789.":
            letters += 1
        unit_s = _UNITS_S.get(rest[digits:letters])
        try:
            amount = float(rest[:digits])
        except ValueError:
            return None
        if unit_s is None:
            return None
        total_s += amount * unit_s
        rest = rest[letters:]
    return sign * total_s


def parse_moment(text: str, now_s: float) -> float | None:
    """Return seconds since 1970, in the years 1970 to 9999; None when it is no moment."""
    moment_s = _seconds(text, now_s)
    return None if moment_s is None else min(max(moment_s, _FIRST_S), _LAST_S)


def _seconds(text: str, now_s: float) -> float | None:
    duration_s = parse_duration(text)
    if duration_s is not None:
        return now_s - duration_s
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        return number if number - number == 0 else None  # no nan, no infinity
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
