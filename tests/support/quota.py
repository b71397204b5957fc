"""Be root, and let writing below a directory fail with EDQUOT from so many bytes on.

usage: python -P FILE BYTES DIRECTORY COMMAND...   (by its path, as tests.support.without)

What a quota does, which a test cannot have: a supervisor counts what is written where. An attribute
that is set counts as a hundred bytes, wherever it is set.
"""

import errno
import os
import select
import struct
import sys

from rootless.linux import notify
from rootless.sandbox.seccomp_compiler import table_name
from rootless.sandbox.syscall_numbers import numbers

_RET_ALLOW = 0x7FFF0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
# Call: which argument is the descriptor, which the size.
_WRITING = {
    "write": (0, 2), "pwrite64": (0, 2), "copy_file_range": (2, 4), "sendfile": (0, 3),
    "fallocate": (0, 3),
}  # fmt: skip
_ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr")
_ATTRIBUTE_BYTES = 100


def _program(known: dict[str, int]) -> bytes:
    calls = [known[name] for name in (*_WRITING, *_ATTRIBUTES)]
    code = [(_LOAD, 0, 0, 0)]
    code += [(_EQUAL, len(calls) - n, 0, number) for n, number in enumerate(calls)]
    code += [(_RETURN, 0, 0, _RET_ALLOW), (_RETURN, 0, 0, notify.RET_USER_NOTIF)]
    return b"".join(struct.pack("=HBBI", *one) for one in code)


def _serve(listener: int, left: int, directory: str, known: dict[str, int]) -> None:
    names = {known[name]: name for name in (*_WRITING, *_ATTRIBUTES)}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll()[0][1] & select.POLLIN:
        try:
            call = notify.receive(listener)
            size = _size(call, names[call.number], directory)
            left -= size
            refused = bool(size) and left < 0
            flags = 0 if refused else notify.CONTINUE
            notify.respond(listener, call.id, 0, errno.EDQUOT if refused else 0, flags)
        except FileNotFoundError:
            continue  # the caller has been killed


def _size(call: notify.Notification, name: str, directory: str) -> int:
    """Return how many bytes a call wants of the quota."""
    if name in _ATTRIBUTES:
        return _ATTRIBUTE_BYTES
    fd, count = _WRITING[name]
    try:
        path = os.readlink(f"/proc/{call.pid}/fd/{call.arguments[fd] & 0xFFFFFFFF}")
    except OSError:
        return 0  # the call fails by itself
    return call.arguments[count] if path.startswith(f"{directory}/") else 0


def main(limit: str, directory: str, *command: str) -> int:
    known = numbers(table_name(os.uname().machine))
    listener = notify.install_listener(_program(known))
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
        _serve(listener, int(limit), directory, known)
        os._exit(0)
    os.close(listener)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
