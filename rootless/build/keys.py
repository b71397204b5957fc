"""The keys of cached steps: a digest of everything that a step can see."""

import hashlib
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Part of every key: what was made by other rules is not found.
_RULES = "1"
_SHORT = 16


def key_of(inputs: "Mapping[str, str]") -> str:
    """Return the key of a step with these named inputs, 64 hexadecimal digits."""
    text = json.dumps([_RULES, sorted(inputs.items())], separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def digests_of(inputs: "Mapping[str, str]") -> dict[str, str]:
    """Return inputs as they are remembered to explain a miss: values may be confidential."""
    return {name: _short(value) for name, value in inputs.items()}


def _short(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()[:_SHORT]


def place_of(file: str, stage: str, line: int, platform: str) -> str:
    """Return the name under which a line's last inputs are kept."""
    text = json.dumps([file, stage, line, platform])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def explain(before: "Mapping[str, str]", now: "Mapping[str, str]") -> str:
    """Say in words why a step was not found; both are of `digests_of`."""
    if not before:
        return "it has not been built before"
    changed = [name for name in now if now[name] != before.get(name, "")]
    changed += [name for name in before if name not in now]
    if not changed:
        return "what it made has been removed from the cache"
    return "changed: " + ", ".join(changed)
