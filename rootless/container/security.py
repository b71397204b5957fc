"""`--security-opt`, `--privileged`, `--cap-*`: what the process may do, as parts of config.json."""

import os

from rootless.container.request import ContainerRequest
from rootless.errors import UsageError
from rootless.sandbox import defaults
from storage.record import NamedTuple

SECCOMP_DEFAULT, SECCOMP_OFF = "default", "unconfined"


class SecurityOptions(NamedTuple):
    """The parsed `--security-opt` values; `seccomp` is default, unconfined or a file's path."""

    seccomp: str
    no_new_privileges: bool
    mask: tuple[str, ...]
    unmask: tuple[str, ...]
    proc_options: tuple[str, ...]


def parse_security_options(request: ContainerRequest) -> SecurityOptions:
    """Read every `--security-opt`. Raises UsageError."""
    seccomp = SECCOMP_OFF if request.privileged else SECCOMP_DEFAULT
    no_new_privileges = False
    mask: list[str] = []
    unmask: list[str] = ["ALL"] if request.privileged else []
    proc_options: list[str] = []
    for text in request.security_opt:
        name, separator, value = text.partition("=")
        if not separator:
            name, separator, value = text.partition(":")
        match name:
            case "no-new-privileges":
                no_new_privileges = not separator or _flag(text, value)
            case "seccomp":
                seccomp = value if value == SECCOMP_OFF else _profile_path(value)
            case "mask":
                mask += _paths(text, value)
            case "unmask":
                unmask += _paths(text, value) if value.upper() != "ALL" else ["ALL"]
            case "systempaths" if value == "unconfined":
                unmask.append("ALL")
            case "proc-opts":
                proc_options += value.split(",")
            case "label":
                _check_label(value)
            case "apparmor":
                _check_apparmor(value)
            case _:
                raise UsageError(
                    f"invalid --security-opt {text!r}",
                    remedy="use seccomp=, no-new-privileges, mask=, unmask=, proc-opts=, label=,"
                    " apparmor=",
                )
    return SecurityOptions(
        seccomp, no_new_privileges, tuple(mask), tuple(unmask), tuple(proc_options)
    )


def _flag(text: str, value: str) -> bool:
    word = value.lower()
    if word not in ("1", "t", "true", "0", "f", "false"):
        raise UsageError(f"invalid --security-opt {text!r}", remedy="use true or false")
    return word in ("1", "t", "true")


def _profile_path(path: str) -> str:
    if not os.path.isfile(path):
        raise UsageError(f"--security-opt seccomp={path}: no such file")
    return os.path.abspath(path)


def _check_label(value: str) -> None:
    """Without SELinux there are no labels, so every request is already met except a demand."""
    if os.path.isdir("/sys/fs/selinux") and os.listdir("/sys/fs/selinux") and value != "disable":
        raise UsageError(
            f"--security-opt label={value}: SELinux labels are not applied by rpod",
            remedy="use --security-opt label=disable",
        )


def _check_apparmor(value: str) -> None:
    if value not in ("unconfined", "", "rpod-default"):
        raise UsageError(
            f"--security-opt apparmor={value}: a profile can only be applied by root",
            remedy="leave it out, or use apparmor=unconfined",
        )


def _paths(text: str, value: str) -> list[str]:
    """Return the paths of mask= and unmask=. Raises UsageError."""
    paths = value.split(":")
    if not all(path.startswith("/") for path in paths):
        raise UsageError(
            f"--security-opt {text}: absolute paths are expected, with colons between them",
            remedy="--security-opt mask=/proc/kcore:/sys/firmware",
        )
    return paths


def masked_and_readonly(
    options: SecurityOptions, *, host_network: bool
) -> tuple[list[str], list[str]]:
    """Return the paths to hide and those to make read-only."""
    masked = list(defaults.masked_paths(host_network=host_network))
    readonly = list(defaults.READONLY_PATHS)
    if options.unmask:
        masked = list(defaults.unmasked(masked, options.unmask))
        readonly = list(defaults.unmasked(readonly, options.unmask))
    return masked + list(options.mask), readonly
