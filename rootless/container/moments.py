"""Moments as people type them: a duration before now, seconds since 1970, or RFC 3339."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float | None:
    """Return the seconds of 90s, 1h30m, 2d; None when it is no duration."""
    total_s, number, unit = 0.0, "", ""
    for character in f"{text}0":
        if character.isdigit() or character == ".":
            if unit:
                if unit not in _UNITS_S or not _is_number(number):
                    return None
                total_s += float(number) * _UNITS_S[unit]
                number, unit = "", ""
            number += character
        elif not number:
            return None
        else:
            unit += character
    return total_s if number == "0" else None


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and text != "."


def parse_moment(text: str, now_s: float) -> float | None:
    """Return seconds since 1970; None when it is no moment."""
    duration_s = parse_duration(text)
    if duration_s is not None:
        return now_s - duration_s
    try:
        return float(text)
    except ValueError:
        pass
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
