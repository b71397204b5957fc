"""Why a container or its command could not be started: the cause, and what to do about it.

Exit codes are podman's: 127 for what is not there, 126 for what cannot be executed, else 125.
"""

import errno
import os
import stat

from rootless.container.reach import first_blocked
from rootless.errors import (
    CommandNotExecutable,
    CommandNotFound,
    MountSourceMissing,
    RootlessError,
    SandboxError,
)
from rootless.sandbox.targets import StepError

_NOT_FOUND = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
# elf(5), e_machine: name of the platform in images, and whose programs it is.
_MACHINES = {
    3: "386", 20: "ppc", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64",
    243: "riscv64", 258: "loong64",
}  # fmt: skip
_OWN = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
_PT_INTERP = 3
_SHOWN = 200


def explain_step(error: StepError) -> RootlessError:
    """Return the error that a person sees for a step of the child that has failed."""
    step, _, rest = error.step.partition("\n")
    reason = os.strerror(error.number) if error.number else "failed"
    if step == "execute":
        return _not_executed(error, reason, rest)
    if step == "find the interpreter of":
        return _no_interpreter(error, reason, rest)
    if step == "change to the working directory":
        return CommandNotFound(f'change to the working directory "{error.path}": {reason}')
    where = f" ({error.path})" if error.path and error.path not in step else ""
    blocked = _blocked(step, error.number)
    if blocked:
        return SandboxError(
            f"{step}: {reason}: you may not pass the directory {blocked}",
            remedy=_open_remedy(blocked),
        )
    return SandboxError(f"{step}{where}: {reason}", remedy=_remedy(step, error.number))


def _not_executed(error: StepError, reason: str, rest: str) -> RootlessError:
    command = error.path
    if error.number in _NOT_FOUND:
        text = f'executable file "{command}" not found'
        text += "" if "/" in command else " in $PATH"
        return CommandNotFound(f"{text}: {reason}", remedy="check the command and the image")
    mode, start = _parts(rest)
    cause, remedy = "", "it must be a program for this machine with execute permission"
    if error.number == errno.ENOEXEC:
        cause, remedy = _wrong_format(start, command)
    elif error.number == errno.EACCES and stat.S_ISDIR(mode):
        cause, remedy = "it is a directory", "name a program in it"
    elif error.number == errno.EACCES and mode and not mode & 0o111:
        cause = f"it has no execute permission (mode {mode & 0o7777:04o})"
        remedy = f"chmod +x in the image, or start it by its interpreter: sh {command}"
    elif error.number == errno.EPERM and (names := _file_capabilities(rest)):
        # capabilities(7): the kernel does not start it with less than it says it needs.
        cause = f"it has file capabilities, and this container may lack them: {', '.join(names)}"
        remedy = f"add --cap-add={','.join(names)}, or take them off in the image: setcap -r FILE"
    elif error.number == errno.EACCES:
        remedy = (
            "the user of the container needs execute permission on it and on the directories above"
            " it, and it must not lie on a mount with noexec"
        )
    text = f'execute "{command}": {reason}' + (f": {cause}" if cause else "")
    return CommandNotExecutable(text, remedy=remedy)


def _parts(rest: str) -> tuple[int, bytes]:
    """Read what `rootless.sandbox.process` has added; the report may have been cut."""
    mode, _, digits = rest.partition("\n")
    try:
        return int(mode.partition(" ")[0], 8), bytes.fromhex(digits[: len(digits) & ~1])
    except ValueError:
        return 0, b""


def _file_capabilities(rest: str) -> list[str]:
    """Name what the file's security.capability permits: struct vfs_cap_data of the kernel."""
    from rootless.sandbox.capabilities import from_mask

    try:
        data = bytes.fromhex(rest.partition("\n")[0].partition(" ")[2])
    except ValueError:
        return []
    permitted = int.from_bytes(data[4:8] + data[12:16], "little")
    return [name.removeprefix("CAP_") for name in from_mask(permitted)]


def _wrong_format(start: bytes, command: str) -> tuple[str, str]:
    own = _OWN.get(os.uname().machine, os.uname().machine)
    if start.startswith(b"\x7fELF") and len(start) >= 20:
        machine = int.from_bytes(start[18:20], "big" if start[5] == 2 else "little")
        name = _MACHINES.get(machine, f"machine {machine}")
        if name == own:
            return "it is damaged, or needs what this kernel does not have", "build the image again"
        return (
            f"it is a program for {name}, and this machine is {own}",
            f"use an image for {own} (--platform linux/{own}), or let the host execute {name}:"
            " apt-get install qemu-user-static",
        )
    if start.startswith(b"MZ"):
        return "it is a program for Windows", "use a program for Linux"
    if not start:
        return "it is empty", "write it, or name another program"
    if all(byte >= 9 for byte in start[:64]):
        return (
            'it is a script without a first line that names its interpreter ("#!")',
            f'begin it with a line such as "#!/bin/sh", or start it so: sh {command}',
        )
    return "it is no program that this kernel knows", "use a program for Linux"


def _no_interpreter(error: StepError, reason: str, rest: str) -> RootlessError:
    _, start = _parts(rest)
    if start.startswith(b"#!"):
        line = start[2:].split(b"\n", 1)[0]
        name = os.fsdecode(line.split()[0]) if line.split() else ""
        shown = name[:_SHOWN].encode("unicode_escape").decode()
        if line.endswith(b"\r"):
            return CommandNotFound(
                f'execute "{error.path}": its first line ends with a carriage return, so its'
                f' interpreter would be "{shown}\\r"',
                remedy="it has line ends of Windows: sed -i 's/\\r$//' FILE",
            )
        return CommandNotFound(
            f'execute "{error.path}": its interpreter "{shown}" is not in the image: {reason}',
            remedy="install it in the image, or change the first line of the script",
        )
    loader = elf_loader(start)
    if loader:
        return CommandNotFound(
            f'execute "{error.path}": its loader "{loader}" is not in the image: {reason}',
            remedy=_loader_remedy(loader),
        )
    return CommandNotFound(
        f'execute "{error.path}": its interpreter or loader is not in the image: {reason}'
    )


def elf_loader(start: bytes) -> str:
    """Return the loader that an ELF program names (PT_INTERP), "" when it is not in the bytes."""
    if not start.startswith(b"\x7fELF") or len(start) < 64:
        return ""
    order = "big" if start[5] == 2 else "little"
    is_64 = start[4] == 2

    def number(at: int, size: int) -> int:
        return int.from_bytes(start[at : at + size], "big" if order == "big" else "little")

    table = number(32, 8) if is_64 else number(28, 4)
    size, count = (number(54, 2), number(56, 2)) if is_64 else (number(42, 2), number(44, 2))
    for at in range(table, min(table + size * count, len(start) - size + 1), size or 1):
        if number(at, 4) != _PT_INTERP:
            continue
        offset = number(at + 8, 8) if is_64 else number(at + 4, 4)
        name = start[offset : offset + _SHOWN].split(b"\0", 1)[0]
        return name.decode(errors="replace") if name.startswith(b"/") else ""
    return ""


def _loader_remedy(loader: str) -> str:
    if "musl" in loader:
        return "it was built for musl (Alpine): use an image with musl, or a static program"
    if "ld-linux" in loader:
        return "it was built for glibc: use an image with glibc (Debian ...), or a static program"
    return "use the image that it was built for, or a static program"


def _blocked(step: str, number: int) -> str:
    """Return the directory that keeps the caller from the source of a bind mount, or ""."""
    if number != errno.EACCES or not step.startswith("bind "):
        return ""
    return first_blocked(step.removeprefix("bind ").rpartition(" on ")[0], os.geteuid())


def not_reached(path: str) -> MountSourceMissing:
    """Return the error for the source of a mount that the caller may not even look at."""
    blocked = first_blocked(path, os.geteuid())
    where = f": you may not pass the directory {blocked}" if blocked else ""
    return MountSourceMissing(
        f"mount {path}: permission denied{where}",
        remedy=_open_remedy(blocked) if blocked else "choose a source that you can reach",
    )


def _open_remedy(directory: str) -> str:
    try:
        found = os.stat(directory)
    except OSError:
        return "choose a source that you can reach"
    if found.st_uid == os.geteuid():
        return f"it is yours: chmod u+x {directory}"
    return (
        f"it belongs to uid {found.st_uid} and has the mode {stat.S_IMODE(found.st_mode):04o}: its"
        f" owner can let you through with chmod o+x {directory}"
    )


def _remedy(step: str, number: int) -> str:
    if number == errno.ENOSPC and "mount" in step:
        return "the limit of mounts is reached: raise sysctl fs.mount-max, or free disk space"
    if step.startswith("mount overlay"):
        return "run `rpod doctor`; --storage-driver=fuse-overlayfs is the next rung"
    if step.startswith("bind"):
        return "check that you may read the source and every directory above it"
    if step.startswith("set sysctl"):
        return _sysctl_remedy(number)
    if step.startswith("mount proc") and number == errno.EPERM:
        return (
            "parts of /proc are covered here (rpod runs in a container), so the kernel refuses a"
            " fresh one: start the outer container with --security-opt unmask=ALL (docker:"
            " systempaths=unconfined), or use --pid=host (build: --isolation=chroot)"
        )
    if step.startswith("hostname") and number == errno.EPERM:
        return "a seccomp filter forbids it: leave --hostname out, or use --uts=host"
    return ""


def _sysctl_remedy(number: int) -> str:
    if number == errno.ENOENT:
        return "this kernel has no such setting for a namespace; `sysctl -a` inside lists them"
    if number == errno.EINVAL:
        return "the kernel does not take this value; see its sysctl documentation for the range"
    return "it may be set by the host's administrator only"
