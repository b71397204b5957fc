"""Seccomp profiles as JSON: OCI runtime-spec, config-linux, seccomp, and docker's extensions.

docker's profiles (podman's are the same) add `archMap`, and to each rule `includes` and `excludes`
by capability, architecture and kernel version.
"""

import errno

from rootless.errors import UsageError
from rootless.sandbox import seccomp_compiler as compiler
from rootless.sandbox.bpf import Compare, Rule
from rootless.sandbox.seccomp_compiler import Policy
from storage.record import NamedTuple

_ACTIONS = {
    "SCMP_ACT_KILL": compiler.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": compiler.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": compiler.KILL_PROCESS,
    "SCMP_ACT_TRAP": compiler.TRAP,
    "SCMP_ACT_ERRNO": compiler.ERRNO,
    "SCMP_ACT_TRACE": compiler.TRACE,
    "SCMP_ACT_ALLOW": compiler.ALLOW,
    "SCMP_ACT_LOG": compiler.LOG,
}
# The low 16 bits of these say more: an errno, or a message for the tracer.
_WITH_DATA = (compiler.ERRNO, compiler.TRACE)
_MAX_DATA = 0xFFFF

_OPERATORS = {
    "SCMP_CMP_NE": "ne",
    "SCMP_CMP_LT": "lt",
    "SCMP_CMP_LE": "le",
    "SCMP_CMP_EQ": "eq",
    "SCMP_CMP_GE": "ge",
    "SCMP_CMP_GT": "gt",
    "SCMP_CMP_MASKED_EQ": "masked",
}

# Architectures of other machines never show up here, so their names are passed over.
_ARCHITECTURES = {
    "SCMP_ARCH_X86": "i386",
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_ARM": "arm",
    "SCMP_ARCH_AARCH64": "aarch64",
}
# What `includes.arches` calls them.
_SHORT_NAMES = {"x86_64": "amd64", "i386": "x86", "aarch64": "arm64", "arm": "arm"}

_ARGUMENTS = 6
_MAX_VALUE = 0xFFFFFFFFFFFFFFFF


class Context(NamedTuple):
    """What a profile's conditions are about: table name, bounding set, kernel release."""

    architecture: str
    capabilities: frozenset[str]
    kernel: str


def read_policy(profile: object, context: Context, where: str) -> Policy:
    """Check a profile and choose the rules that hold for this container.

    Raises UsageError: its message names the place, like `syscalls[3].args[0].op`.
    """
    document = _object(profile, where)
    if document.get("listenerPath") or document.get("listenerMetadata"):
        raise UsageError(f"{where}: listenerPath: a seccomp agent is not supported")
    default = _action(document, "defaultAction", "defaultErrno", where)
    rules: dict[str, list[Rule]] = {}
    for index, item in enumerate(_list(document.get("syscalls"), f"{where}: syscalls")):
        place = f"{where}: syscalls[{index}]"
        entry = _object(item, place)
        own = _rules(entry, place)
        names = _names(entry, place)
        if not _applies(entry, context, place):
            continue
        for name in names:
            rules.setdefault(name, []).extend(own)
    newer = None
    given = document.get("defaultErrnoRet") is not None or document.get("defaultErrno")
    if default & ~_MAX_DATA == compiler.ERRNO and not given:
        # Written before the newest calls existed: let programs fall back instead of failing.
        newer = compiler.NO_SUCH_CALL
    return Policy(
        default,
        {name: _effective(own) for name, own in rules.items()},
        _architectures(document, context, where),
        newer,
    )


def _effective(rules: list[Rule]) -> tuple[Rule, ...]:
    """A rule without conditions stands for all, and the first of several: libseccomp's reading."""
    unconditional = [rule for rule in rules if not rule.conditions]
    return tuple(unconditional[:1] or rules)


def _rules(entry: dict[str, object], where: str) -> list[Rule]:
    action = _action(entry, "action", "errno", where)
    conditions = [
        _compare(item, f"{where}.args[{index}]")
        for index, item in enumerate(_list(entry.get("args"), f"{where}.args"))
    ]
    indexes = [item.argument for item in conditions]
    if len(set(indexes)) < len(indexes):
        # Two conditions on one argument mean "either" to the other runtimes.
        return [Rule(action, (item,)) for item in conditions]
    return [Rule(action, tuple(conditions))]


def _action(entry: dict[str, object], key: str, errno_key: str, where: str) -> int:
    name = entry.get(key)
    if name == "SCMP_ACT_NOTIFY":
        raise UsageError(f"{where}: {key}: SCMP_ACT_NOTIFY needs a seccomp agent: not supported")
    if not isinstance(name, str) or name not in _ACTIONS:
        raise UsageError(
            f"{where}: {key}: unknown action {name!r}", remedy=f"use one of {', '.join(_ACTIONS)}"
        )
    action = _ACTIONS[name]
    number = _errno(entry, errno_key, where)
    if action not in _WITH_DATA:
        if number is not None:
            raise UsageError(f"{where}: {errno_key}Ret: {name} has no error number")
        return action
    return action | (errno.EPERM if number is None else number)


def _errno(entry: dict[str, object], key: str, where: str) -> int | None:
    number = entry.get(f"{key}Ret")
    if number is not None:
        return _integer(number, _MAX_DATA, f"{where}: {key}Ret")
    name = entry.get(key)
    if name in (None, ""):
        return None
    found = getattr(errno, name, None) if isinstance(name, str) else None
    if not isinstance(found, int):
        raise UsageError(f"{where}: {key}: unknown error {name!r}")
    return found


def _compare(item: object, where: str) -> Compare:
    entry = _object(item, where)
    operator = entry.get("op")
    if not isinstance(operator, str) or operator not in _OPERATORS:
        raise UsageError(
            f"{where}.op: unknown operator {operator!r}",
            remedy=f"use one of {', '.join(_OPERATORS)}",
        )
    return Compare(
        _integer(entry.get("index"), _ARGUMENTS - 1, f"{where}.index"),
        _OPERATORS[operator],
        _integer(entry.get("value"), _MAX_VALUE, f"{where}.value"),
        _integer(entry.get("valueTwo") or 0, _MAX_VALUE, f"{where}.valueTwo"),
    )


def _names(entry: dict[str, object], where: str) -> list[str]:
    names = _strings(entry.get("names"), f"{where}.names")
    if not names and entry.get("name"):  # docker's profiles before 1.12
        names = _strings([entry["name"]], f"{where}.name")
    if not names:
        raise UsageError(f"{where}.names: names no system call")
    return names


def _applies(entry: dict[str, object], context: Context, where: str) -> bool:
    includes = _object(entry.get("includes") or {}, f"{where}.includes")
    excludes = _object(entry.get("excludes") or {}, f"{where}.excludes")
    here = _SHORT_NAMES[context.architecture]
    wanted = _strings(includes.get("arches"), f"{where}.includes.arches")
    needed = _strings(includes.get("caps"), f"{where}.includes.caps")
    unwanted = _strings(excludes.get("caps"), f"{where}.excludes.caps")
    conditions = (
        not wanted or here in wanted,
        here not in _strings(excludes.get("arches"), f"{where}.excludes.arches"),
        context.capabilities.issuperset(needed),
        context.capabilities.isdisjoint(unwanted),
        _reached(includes.get("minKernel"), context, f"{where}.includes.minKernel") is not False,
        _reached(excludes.get("minKernel"), context, f"{where}.excludes.minKernel") is not True,
    )
    return all(conditions)


def _reached(version: object, context: Context, where: str) -> bool | None:
    """Return whether the kernel is at least `version`; None when none is given."""
    if version in (None, ""):
        return None
    wanted = _version(version) if isinstance(version, str) else None
    if wanted is None:
        raise UsageError(f"{where}: not a kernel version: {version!r}", remedy='write it as "4.8"')
    running = _version(context.kernel)
    return running is None or running >= wanted


def _version(text: str) -> tuple[int, int] | None:
    parts = text.split(".")
    if len(parts) < 2:
        return None
    minor = ""
    for character in parts[1]:
        if not character.isdigit():
            break
        minor += character
    if not parts[0].isdigit() or not minor:
        return None
    return int(parts[0]), int(minor)


def _architectures(document: dict[str, object], context: Context, where: str) -> tuple[str, ...]:
    found = [context.architecture]
    place = f"{where}: architectures"
    names = _strings(document.get("architectures"), place)
    for index, item in enumerate(_list(document.get("archMap"), f"{where}: archMap")):
        entry = _object(item, f"{where}: archMap[{index}]")
        if _ARCHITECTURES.get(str(entry.get("architecture"))) == context.architecture:
            place = f"{where}: archMap[{index}].subArchitectures"
            names = names + _strings(entry.get("subArchitectures"), place)
    for name in names:
        if not name.startswith("SCMP_ARCH_"):
            raise UsageError(f"{place}: unknown architecture {name!r}")
        own = _ARCHITECTURES.get(name)
        if own in compiler.COMPATIBLE[context.architecture] and own not in found:
            found.append(own)
    return tuple(found)


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected an object, found {_kind(value)}")
    return value


def _list(value: object, where: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UsageError(f"{where}: expected a list, found {_kind(value)}")
    return value


def _strings(value: object, where: str) -> list[str]:
    strings = []
    for index, item in enumerate(_list(value, where)):
        if not isinstance(item, str) or not item:
            raise UsageError(f"{where}[{index}]: expected a name, found {_kind(item)}")
        strings.append(item)
    return strings


def _integer(value: object, limit: int, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise UsageError(f"{where}: expected a number from 0 to {limit}, found {value!r:.40}")
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number"}
    return names.get(type(value), "nothing" if value is None else "something else")
