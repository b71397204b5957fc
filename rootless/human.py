"""Times, durations and sizes as people and Go programs write them."""

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_DAYS_BEFORE_MONTH = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
NEVER = "0001-01-01T00:00:00Z"


def duration_text(seconds: float) -> str:
    """Return "2 minutes", "About an hour": docker's go-units HumanDuration."""
    whole = int(seconds)
    minutes = whole // 60
    hours = int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{whole // 3600 // 24 // 365} years"


def ago_text(rfc3339: str, now_s: float) -> str:
    """Return "2 minutes ago" for a time, the empty string for the zero time."""
    moment_s = parse_rfc3339(rfc3339)
    if moment_s is None or moment_s < -60_000_000_000:
        return ""
    return f"{duration_text(max(0.0, now_s - moment_s))} ago"


def size_text(size_bytes: float) -> str:
    """Return "1.23 MB": three digits, units of 1000, as podman's tables."""
    unit = 0
    while size_bytes >= 1000 and unit < len(_SIZE_UNITS) - 1:
        size_bytes /= 1000
        unit += 1
    digits = f"{size_bytes:.3g}" if size_bytes < 999.5 else f"{size_bytes:.0f}"
    return f"{digits} {_SIZE_UNITS[unit]}"


def parse_rfc3339(text: str) -> float | None:
    """Return a time as seconds since 1970 (UTC), None when the text is no RFC 3339 time.

    The time may end after the date or the minutes; without an offset it is UTC.
    """
    date, _, clock = text.strip().replace("t", "T").replace(" ", "T", 1).partition("T")
    days = _days(date)
    if days is None:
        return None
    clock, offset_s = _split_offset(clock.rstrip())
    if offset_s is None:
        return None
    seconds = _clock_s(clock) if clock else 0.0
    return None if seconds is None else days * 86400 + seconds - offset_s


def _days(date: str) -> int | None:
    """Return the days from 1970-01-01 to YYYY-MM-DD."""
    parts = date.split("-")
    if len(parts) != 3 or not all(part.isdigit() and part.isascii() for part in parts):
        return None
    year, month, day = (int(part) for part in parts)
    if len(parts[0]) != 4 or not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    years = year - 1
    days = 365 * years + years // 4 - years // 100 + years // 400
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days += _DAYS_BEFORE_MONTH[month - 1] + (1 if leap and month > 2 else 0) + day - 1
    return days - 719162  # 1970-01-01 counted from 0001-01-01


def _clock_s(clock: str) -> float | None:
    parts = clock.split(":")
    if not 2 <= len(parts) <= 3:
        return None
    try:
        hours, minutes, seconds = int(parts[0]), int(parts[1]), float((*parts, "0")[2])
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _split_offset(clock: str) -> tuple[str, int | None]:
    """Return the clock and the offset from UTC in seconds: Z, +02:00, -0500 or nothing."""
    if clock[-1:] in ("Z", "z"):
        return clock[:-1], 0
    for sign in ("+", "-"):
        front, found, offset = clock.rpartition(sign)
        if not found:
            continue
        digits = offset.replace(":", "")
        if len(digits) != 4 or not digits.isdigit():
            return clock, None
        total_s = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        return front, total_s if sign == "+" else -total_s
    return clock, 0


def go_time(rfc3339: str) -> str:
    """Return a time as Go prints it: 2026-11-23 21:25:09.385819215 +0000 UTC."""
    date, separator, clock = rfc3339.partition("T")
    if not separator:
        return rfc3339
    clock, offset_s = _split_offset(clock)
    if "." in clock:
        clock = clock.rstrip("0").rstrip(".")
    if not offset_s:
        return f"{date} {clock} +0000 UTC"
    sign = "+" if offset_s > 0 else "-"
    hours, minutes = divmod(abs(offset_s) // 60, 60)
    return f"{date} {clock} {sign}{hours:02}{minutes:02} {sign}{hours:02}{minutes:02}"


def unix_time(rfc3339: str) -> int:
    """Return whole seconds since 1970; -62135596800, Go's zero time, for what is no time."""
    moment_s = parse_rfc3339(rfc3339)
    return -62135596800 if moment_s is None else int(moment_s // 1)
