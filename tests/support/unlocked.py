"""Be root, refuse flock(2) below a directory to a command and its children; "/" is everywhere.

usage: python -P FILE ERRNO DIRECTORY COMMAND...   (by its path, as tests.support.without)

What file systems without locks do (lustre without `-o flock`, NFS whose lock server is away): a
supervisor looks where the descriptor leads.
"""

import errno
import os
import select
import struct
import sys

from rootless.linux import notify
from rootless.sandbox.seccomp_compiler import table_name
from rootless.sandbox.syscall_numbers import numbers

_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06


def _program(action: int) -> bytes:
    number = numbers(table_name(os.uname().machine))["flock"]
    code = ((_LOAD, 0, 0, 0), (_EQUAL, 0, 1, number), (_RETURN, 0, 0, action),
            (_RETURN, 0, 0, _RET_ALLOW))  # fmt: skip
    return b"".join(struct.pack("=HBBI", *one) for one in code)


def _serve(listener: int, error: int, directory: str) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll()[0][1] & select.POLLIN:
        try:
            call = notify.receive(listener)
            path = os.readlink(f"/proc/{call.pid}/fd/{call.arguments[0]}")
            refused = path.startswith(f"{directory}/")
            flags = 0 if refused else notify.CONTINUE
            notify.respond(listener, call.id, 0, error if refused else 0, flags)
        except FileNotFoundError:
            continue  # the caller has been killed


def main(name: str, directory: str, *command: str) -> int:
    error = getattr(errno, name)
    if directory == "/":
        from rootless.linux.syscalls import install_seccomp_filter

        install_seccomp_filter(_program(_RET_ERRNO | error))
        os.execvp(command[0], command)
    listener = notify.install_listener(_program(notify.RET_USER_NOTIF))
    child = os.fork()
    if child == 0:
        os.close(listener)
        os.execvp(command[0], command)
    helper = os.fork()
    if helper == 0:
        # What a container leaves running must not wait for an answer that nobody gives.
        os.setsid()
        for fd in range(3):
            os.close(fd)
        _serve(listener, error, directory)
        os._exit(0)
    os.close(listener)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
