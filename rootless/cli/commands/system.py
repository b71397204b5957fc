"""info, version, doctor, unshare, completion."""

import os
import sys

from rootless.cli.output import print_documents, write, write_json
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.check import Check

_COLOURS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


def short_version(invocation: "Invocation") -> int:
    """Print the line of `rpod --version`, as the tool does by whose name it was started."""
    from rootless.host.info import version as gather_version
    from rootless.version import VERSION

    called = _called()
    known = gather_version(called)["Version"]
    if called == "docker":
        write(f"Docker version {known}, build rpod-{VERSION}\n")
    else:
        write(f"{called} version {known}\n")
    return 0


def _called() -> str:
    name = os.path.basename(sys.argv[0])
    return name if name in ("podman", "docker") else "rpod"


def version(invocation: "Invocation") -> int:
    """Print versions."""
    from rootless.host.info import version as gather_version

    client = gather_version(_called())
    sections: dict[str, object] = {"Client": client}
    if _called() == "docker":
        from rootless.service.system import engine_version

        engine = engine_version()
        named = {"Arch": engine["Arch"], "APIVersion": engine["ApiVersion"], "GitCommit": ""}
        client = {**client, **named, "ApiVersion": engine["ApiVersion"]}
        sections = {"Client": client, "Server": {**client, **engine}}
    text = invocation.text("format")
    if text == "json":
        import json

        write(json.dumps(sections, separators=(",", ":")) + "\n")
    elif text:
        # podman's fields lie both below .Client and at the top.
        print_documents([{**sections, **client}], text)
    else:
        lines = (
            ("Client:", "rpod"),
            ("Version:", client["Version"]),
            ("API Version:", client["APIVersion"]),
            ("Python Version:", client["PythonVersion"]),
            ("OS/Arch:", client["OsArch"]),
        )
        write("".join(f"{name:<16} {value}\n" for name, value in lines))
    return 0


def info(invocation: "Invocation") -> int:
    """Print what was found out about this host."""
    from rootless.host.info import gather

    document = gather(invocation.host(prepare=False))
    text = invocation.text("format")
    if text and _called() == "docker":
        from rootless.service.system import engine_info

        # Scripts of docker's ask for its fields; podman's are there as well.
        document = {**document, **engine_info(invocation.host())}
    if text == "json":
        write_json(document, indent=2)
    elif text:
        print_documents([document], text)
    else:
        write("\n".join(_outline(document, 0)) + "\n")
    return 0


def _outline(value: object, depth: int) -> list[str]:
    """Return a document as YAML-like lines, the way podman prints info."""
    indent = "  " * depth
    lines: list[str] = []
    if isinstance(value, dict):
        for key, item in value.items():
            lines += _entry(f"{indent}{key}:", item, depth)
    elif isinstance(value, list | tuple):
        for item in value:
            inner = _outline(item, depth + 1)
            first = inner[0].strip() if inner else "{}"
            lines += [f"{indent}- {first}", *inner[1:]]
    else:
        lines.append(f"{indent}{_scalar(value)}")
    return lines


def _entry(label: str, item: object, depth: int) -> list[str]:
    if isinstance(item, dict | list | tuple):
        if not item:
            return [f"{label} {'{}' if isinstance(item, dict) else '[]'}"]
        return [label, *_outline(item, depth + (1 if isinstance(item, dict) else 0))]
    return [f"{label} {_scalar(item)}"]


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text == "":
        return '""'
    return text if text.isprintable() else repr(text)


def doctor(invocation: "Invocation") -> int:
    """Try what a container needs; 1 when something that it needs fails."""
    from rootless.host.doctor import exit_code, run_checks

    checks = run_checks(invocation.host(prepare=False))
    if invocation.text("format") == "json":
        write_json([check._asdict() for check in checks], indent=2)
    else:
        for check in checks:
            write(_check_text(check))
    return exit_code(checks)


def _check_text(check: "Check") -> str:
    """Return a check's line, and below it what is wrong and how to put it right."""
    from rootless.cli.reporting import is_coloured

    label = f"{check.status:<4}"
    if is_coloured(sys.stdout):
        label = f"{_COLOURS.get(check.status, '')}{label}\x1b[0m"
    lines = [f"{label}  {check.title}: {check.found or 'failed'}"]
    for name, text in (("so", check.chosen), ("cause", check.cause), ("fix", check.fix)):
        if text:
            lines.append(f"      {name}: {text}")
    return "\n".join(lines) + "\n"


def unshare(invocation: "Invocation") -> int:
    """Run a command in the user namespace of containers."""
    from rootless.container.unshare import unshare as run_in_namespace

    command = invocation.texts("command") or (os.environ.get("SHELL") or "/bin/sh",)
    sys.stdout.flush()
    return run_in_namespace(invocation.host(), list(command))


def completion(invocation: "Invocation") -> int:
    """Print a shell's completion script."""
    from rootless.cli.clickapp import script
    from rootless.cli.completion import shells

    shell = invocation.text("shell")
    text = script(shell) if shell in shells() else None
    if text is None:
        raise UsageError(f"no completion for {shell!r}", remedy=f"one of {', '.join(shells())}")
    path = invocation.text("file")
    if not path:
        write(text)
        return 0
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"write {path}: {error.strerror}") from error
    return 0
