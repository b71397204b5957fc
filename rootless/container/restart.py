"""`--restart`: the monitor of a container that has ended has it started again.

The monitor writes the end, frees the lock, and leaves a small process behind that sleeps for the
back-off: the container is as startable and as removable as any other meanwhile. What that process
starts in the end is `rpod start`, in a fresh interpreter.
"""

import fcntl
import os
import sys
import time

from rootless.linux import signals as signal
from storage.containers import ContainerState, ContainerView, read_state

_POLICIES = ("always", "no", "on-failure", "unless-stopped")
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 60.0
_STEADY_S = 10.0
_MAX_DIGITS = 9
_BOOT = (
    "import sys; sys.path[:] = sys.argv[1].split(':');"
    "from rootless.container.restarting import main; main(sys.argv[2])"
)


def parse_policy(text: str) -> str:
    """Return always, on-failure[:N] or unless-stopped; "" for none. Raises UsageError."""
    name, separator, limit = text.partition(":")
    is_number = limit.isdecimal() and len(limit) <= _MAX_DIGITS
    if name not in (*_POLICIES, "", "never") or (
        separator and not (name == "on-failure" and is_number)
    ):
        from rootless.errors import UsageError

        raise UsageError(
            f'invalid restart policy "{text}"',
            remedy="use no, always, unless-stopped, on-failure or on-failure:RETRIES",
        )
    if name in ("", "no", "never"):
        return ""
    return f"{name}:{int(limit)}" if limit and int(limit) else name


def wants_restart(policy: str, state: ContainerState, code: int) -> bool:
    """Tell whether a container that ended with `code` is to be started again."""
    name, _, limit = policy.partition(":")
    if not name or state.stopped_by_user:
        return False
    if name != "on-failure":
        return True
    return code != 0 and (not limit or state.restart_count < int(limit))


def pursue(view: ContainerView, code: int) -> None:
    """Start the container again after the back-off, in a process of its own."""
    state = read_state(view.paths)
    if not wants_restart(view.record.restart, state, code) or os.fork():
        return
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        ran_s = time.monotonic() - _monotonic_start(state)
        count = 0 if ran_s > _STEADY_S else state.restart_count
        if sleep(view, state, delay_s(count)):
            _become_start(view, state.restart_count + 1)
    finally:
        os._exit(1)


def delay_s(count: int) -> float:
    """Return how long the next start waits: twice as long as the last one, up to a minute."""
    return min(_FIRST_DELAY_S * float(1 << min(count, 20)), _LONGEST_DELAY_S)


def _monotonic_start(state: ContainerState) -> float:
    """Return when the container's first process began, in seconds since boot; proc(5), stat."""
    return state.pid_start_time / os.sysconf("SC_CLK_TCK")


def sleep(view: ContainerView, state: ContainerState, seconds: float) -> bool:
    """Wait; false as soon as somebody has stopped, started or removed the container meanwhile."""
    end_s = time.monotonic() + seconds
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    try:
        directory = os.open(view.paths.run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Whoever stops, starts or removes makes or removes a file there (fcntl(2), F_NOTIFY).
        kinds = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
        fcntl.fcntl(directory, fcntl.F_NOTIFY, kinds)
    except OSError:
        return False  # it has been removed
    while _is_ours(view, state):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return True
        signal.sigtimedwait([signal.SIGIO], left_s)
    return False


def _is_ours(view: ContainerView, state: ContainerState) -> bool:
    if os.path.exists(view.paths.stopped) or not os.path.exists(view.paths.record):
        return False
    return read_state(view.paths).started_at == state.started_at


def _become_start(view: ContainerView, count: int) -> None:
    from storage import lightjson as json

    words = {
        # <store>/containers/<id> and <run root>/containers/<id>
        "store": os.path.dirname(os.path.dirname(view.paths.directory)),
        "run_root": os.path.dirname(os.path.dirname(view.paths.run_dir)),
        "id": view.record.id,
        "count": count,
    }
    search_path = ":".join(path for path in sys.path if path)
    program = [sys.executable, "-I", "-S", "-c", _BOOT, search_path, json.dumps(words)]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
    os.execve(program[0], program, os.environ)
