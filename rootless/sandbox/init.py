"""The small pid 1 of `--init`: passes signals on, reaps, ends with the program's status.

It stays in the forked interpreter, with no descriptor but the standard streams. Its memory was
made on the host, so it is hidden from the container: not dumpable means that /proc/1 belongs to
nobody inside, and ptrace(2) of it needs a capability over the initial user namespace.
"""

import os

from rootless.linux import signals as signal
from rootless.linux import syscalls as sc
from rootless.linux.procfs import read_stat
from rootless.sandbox.channel import Channel
from rootless.sandbox.process import Process, enter_directory, execute, take_identity
from rootless.sandbox.targets import StepError

# proc(5), stat: fields 48 and 49; the list begins with field 3.
_ARG_START, _ARG_END = 45, 46
_NOT_PASSED_ON = (signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP)


def run(process: Process, channel: Channel) -> None:
    """Start the program as a child and be its init. Never returns."""
    _hide_caller()
    everything = signal.valid_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    pid = os.fork()
    if pid == 0:
        _become_program(process, channel)
    channel.close()
    sc.set_process_name("rpod-init")
    try:
        os.tcsetpgrp(0, pid)
    except OSError:
        pass  # no terminal
    _drop_rights(process)
    _serve(pid, everything)


def _hide_caller() -> None:
    """Let nothing in the container read the memory, the environment or the arguments."""
    fields = read_stat(os.getpid())
    if len(fields) > _ARG_END:
        sc.overwrite_arguments(int(fields[_ARG_START]), int(fields[_ARG_END]), "rpod-init")
    sc.prctl(sc.PR_SET_DUMPABLE, 0)


def _become_program(process: Process, channel: Channel) -> None:
    try:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        take_identity(process, channel)
        enter_directory(process.cwd)
        execute(process)
    except StepError as error:
        channel.send_error(error)
    except OSError as error:
        channel.send_error(StepError("set up the process", "", error.errno or 0))
    finally:
        os._exit(127)


def _drop_rights(process: Process) -> None:
    """Keep what passing signals on to other ids takes, no more."""
    cap_kill = 1 << 5
    for number in range(64):
        if number == 5:
            continue
        try:
            sc.prctl(sc.PR_CAPBSET_DROP, number)
        except OSError:
            break
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    sc.capset(cap_kill, cap_kill, 0)


def _serve(pid: int, everything: "set[signal.Signals]") -> None:
    while True:
        number = signal.sigwaitinfo(everything).si_signo
        if number != signal.SIGCHLD:
            if number not in _NOT_PASSED_ON:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            continue
        while True:
            try:
                gone, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if gone == 0:
                break
            if gone == pid:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
