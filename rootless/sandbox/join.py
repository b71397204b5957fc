"""Run a further process in the namespaces of a running container: what `exec` does.

The process that joins still has the caller's memory while it is already inside, so it stops being
dumpable first: nothing in the container can trace it or read /proc/PID of it (CVE-2016-9962).
"""

import os

from rootless.linux import syscalls as sc
from rootless.linux.userns import become_root
from rootless.sandbox.channel import Channel
from rootless.sandbox.child import close_others
from rootless.sandbox.process import (
    Process,
    enter_directory,
    execute,
    open_terminal,
    reset_signals,
    set_limits,
    set_oom_score,
    take_identity,
    use_streams,
    use_terminal,
)
from rootless.sandbox.targets import StepError


def join(
    pidfd: int,
    namespaces: int,
    process: Process,
    streams: tuple[int, int, int],
    console_size: tuple[int, int],
    channel: Channel,
    kept: int = 0,
) -> None:
    """Enter the namespaces of `pidfd` and start the process there. Never returns.

    The process becomes a grandchild: a pid namespace is entered by children only (setns(2)). This
    one waits for it and ends with its status, 128+n when a signal ended it. The process has `kept`
    descriptors of the caller's, from 3 on.
    """
    try:
        set_oom_score(process)
        sc.prctl(sc.PR_SET_DUMPABLE, 0)
        sc.setns(pidfd, namespaces)
        os.chdir("/")
        pid = os.fork()
        if pid == 0:
            _become(process, streams, console_size, channel, kept)
        channel.send(b"p%d" % pid)
        channel.close()
        sc.close_range(0)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    except OSError as error:
        notes = getattr(error, "__notes__", [""])
        channel.send_error(StepError(f"join the container: {notes[0]}", "", error.errno or 0))
    finally:
        os._exit(1)


def _become(
    process: Process,
    streams: tuple[int, int, int],
    console_size: tuple[int, int],
    channel: Channel,
    kept: int,
) -> None:
    """Become the program. Never returns."""
    try:
        os.setsid()
        # Until now the caller moves this process into the container's cgroup, or asks systemd to,
        # which does it for processes that have the caller's id.
        channel.expect(b"x")
        become_root()
        if process.terminal:
            master, terminal = open_terminal(*console_size)
            channel.send(b"t", master)
            os.close(master)
            use_terminal(terminal, process.uid, process.gid)
        else:
            use_streams(streams, process.uid, process.gid)
        close_others(channel, kept)
        set_limits(process)
        reset_signals()
        take_identity(process, channel)
        enter_directory(process.cwd)
        execute(process)
    except StepError as error:
        channel.send_error(error)
    except OSError as error:
        notes = getattr(error, "__notes__", [""])
        channel.send_error(StepError(f"set up the process: {notes[0]}", "", error.errno or 0))
    finally:
        os._exit(1)
