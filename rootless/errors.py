"""What can go wrong with processes and the kernel.

RootlessError                   125
+-- UsageError                  the request contradicts itself or asks for what does not exist
+-- HostError                   this host cannot do a step; the remedy names the fix
|   +-- NoUserNamespace         user namespaces are switched off or limited
|   +-- IdMapError              newuidmap or newgidmap refused
|   +-- LimitError              a limit that this host cannot enforce, or a cgroup that failed
+-- SandboxError                a step inside the new namespaces failed: step, path, errno
|   +-- CommandNotExecutable    126
|   +-- CommandNotFound         127
+-- ContainerStateError         the container is not in the state that the command needs
+-- MountSourceMissing          a bind mount's source does not exist
+-- NetworkError                slirp4netns, pasta or a port failed
+-- UnknownUser                 --user names nobody in the container
+-- Interrupted                 128 + signal number
"""

import errno


class RootlessError(Exception):
    """A failure with what a person needs: `message`, `remedy` (may be empty) and `exit_code`."""

    exit_code = 125

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def words_of(error: BaseException) -> tuple[str, str]:
    """Return what a person is told of any error: message and remedy, which may be empty."""
    message = getattr(error, "message", None)
    if isinstance(message, str) and message:
        return message, str(getattr(error, "remedy", ""))
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}", ""
    reason = error.strerror or str(error) or type(error).__name__
    subject = error.filename
    if not isinstance(subject, str) or not subject:
        return reason, ""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free space, or use another store with --root DIR" if is_full else ""
    return f"{subject}: {reason}", remedy


class UsageError(RootlessError):
    pass


class of_option:
    """Name an option in the error of what reads its value, where the error does not yet.

    What it reads is also read for other options, and elsewhere, so that it cannot know the name.
    """

    __slots__ = ("_option",)

    def __init__(self, option: str) -> None:
        self._option = option

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        message = getattr(error, "message", "")
        if error is not None and message and not message.startswith("--"):
            error.message = f"{self._option}: {message}"  # type: ignore[attr-defined]  # has one
            error.args = (f"{self._option}: {message}", *error.args[1:])


class HostError(RootlessError):
    pass


class NoUserNamespace(HostError):
    pass


class IdMapError(HostError):
    pass


class LimitError(HostError):
    pass


class SandboxError(RootlessError):
    pass


class CommandNotExecutable(SandboxError):
    exit_code = 126


class CommandNotFound(SandboxError):
    exit_code = 127


class ContainerStateError(RootlessError):
    pass


class MountSourceMissing(RootlessError):
    pass


class NetworkError(RootlessError):
    pass


class UnknownUser(RootlessError):
    pass


class Interrupted(RootlessError):
    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number
