"""`unshare`: a command of the host as root of the user namespace that containers have."""

import errno
import os

from rootless.errors import CommandNotExecutable, CommandNotFound
from rootless.host.paths import Host
from rootless.linux import signals as signal
from rootless.linux import syscalls
from rootless.linux.userns import apply_maps, become_root, no_namespace_error


def unshare(host: Host, command: list[str]) -> int:
    """Run the command in a new user and mount namespace; return its exit code.

    Raises NoUserNamespace, IdMapError, CommandNotFound, CommandNotExecutable.
    """
    maps = host.id_maps()
    ready, child_ready = os.pipe2(os.O_CLOEXEC)
    go, parent_go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _child(command, child_ready, go, parent_go)
    for fd in (child_ready, go):
        os.close(fd)
    try:
        failure = os.read(ready, 16)
        if failure != b"0":
            os.waitpid(pid, 0)
            number = int(failure or b"1")
            raise no_namespace_error(OSError(number, os.strerror(number)))
        try:
            apply_maps(pid, maps)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        os.write(parent_go, b"g")
        failure = os.read(ready, 16)
    finally:
        os.close(ready)
        os.close(parent_go)
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _, status = os.waitpid(pid, 0)
    finally:
        signal.signal(signal.SIGINT, old)
    if failure:
        raise _explain(command[0], int(failure))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _child(command: list[str], ready: int, go: int, parent_go: int) -> None:
    """Enter the namespaces and become the command. Never returns."""
    try:
        os.close(parent_go)
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        except OSError as error:
            os.write(ready, b"%d" % (error.errno or 1))
            return
        os.write(ready, b"0")
        if not os.read(go, 1):
            return
        become_root()
        try:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execvp(command[0], command)
        except OSError as error:
            number = error.errno or errno.ENOENT
            if number == errno.EACCES and "/" not in command[0] and not which(command[0]):
                # One directory of PATH may not be searched; that the program is in it is unlikely.
                number = errno.ENOENT
            os.write(ready, b"%d" % number)
    finally:
        os._exit(1)


def which(command: str) -> bool:
    """Whether any directory of PATH shows a file of this name."""
    directories = os.environ.get("PATH", os.defpath).split(":")
    return any(os.path.exists(f"{directory or '.'}/{command}") for directory in directories)


def _explain(command: str, number: int) -> CommandNotFound | CommandNotExecutable:
    reason = os.strerror(number)
    if number in (2, 20):
        return CommandNotFound(f'executable file "{command}" not found in $PATH: {reason}')
    return CommandNotExecutable(f'execute "{command}": {reason}')
