"""Entry point of `rpod`: parse, call the command, turn errors into one clear text and exit code."""

import gc
import os
import sys

from rootless.cli.reporting import print_error, report
from rootless.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.cli.invocation import Invocation

# A start allocates some 50,000 objects that stay: looking for garbage among them costs 10 % of it.
_OBJECTS_BEFORE_COLLECTION = 200_000


def main() -> None:
    """Run this process's command line and end the process."""
    _open_closed_streams()
    _undo_inherited_signals()
    code = run(_words(sys.argv))
    try:
        sys.stderr.flush()
    except OSError:
        pass  # EPIPE, EIO, ENOSPC: nobody is left to be told
    # Everything is written: taking the interpreter apart would only cost milliseconds.
    os._exit(code)


def _words(argv: "Sequence[str]") -> "Sequence[str]":
    """Return the command line; a link named docker-compose stands for `rpod compose`."""
    return ["compose", *argv[1:]] if argv[0].endswith("-compose") else argv[1:]


def run(argv: "Sequence[str]") -> int:
    """Run one command line and return its exit code; what it prints is flushed."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, 20, 20)
    invocation: Invocation | None = None
    try:
        if "_RPOD_COMPLETE" in os.environ:
            from rootless.cli.clickapp import complete

            return _flush(complete(os.environ["_RPOD_COMPLETE"]))
        from rootless.cli.fast import parse

        invocation = parse(argv)
        if invocation is None:
            from rootless.cli.clickapp import explain

            outcome = explain(argv)
            if isinstance(outcome, int):
                return _flush(outcome)
            invocation = outcome
        code = call(invocation)
    except BrokenPipeError:
        return _reader_is_gone()
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        # click ends so when its own output has no reader any more.
        code = error.code if isinstance(error.code, int) else 1
    except Exception as error:  # noqa: BLE001 - the one place that turns errors into text
        code = report(error)
    code = _flush(code)
    if invocation is not None:
        _print_notes(invocation)
    return code


def _open_closed_streams() -> None:
    """Put /dev/null where a caller has closed a standard stream: no file may land there."""
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _undo_inherited_signals() -> None:
    """A caller that ignores SIGCHLD or blocks signals must not keep us from seeing ours."""
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, ())


def call(invocation: "Invocation") -> int:
    """Import the command's handler and run it; what it returns is the exit code."""
    _explain_settings(invocation)
    module, _, function = invocation.command.handler.partition(":")
    handler: Callable[[Invocation], int] = getattr(
        __import__(f"rootless.cli.commands.{module}", fromlist=[function]), function
    )
    code = handler(invocation)
    host = invocation.opened_host
    if host is not None and host.layout.shared and _is_filled(host.layout.names_dir):
        from rootless.shared_home import settle

        settle(host)
    return code


def _is_filled(directory: str) -> bool:
    try:
        return bool(os.listdir(directory))
    except FileNotFoundError:
        return False


def _explain_settings(invocation: "Invocation") -> None:
    """Say what a global option of podman's means here when it means nothing."""
    settings = invocation.settings
    if "runtime" in settings:
        _note("--runtime has no effect: rpod runs containers itself, without an OCI runtime")
    if settings.get("storage_driver") == "vfs":
        _note("--storage-driver vfs: rpod calls it copy")
    if settings.get("log_level") in ("trace", "debug"):
        os.environ["RPOD_DEBUG"] = "1"


def _print_notes(invocation: "Invocation") -> None:
    host = invocation.opened_host
    # info and doctor say the same in their result.
    if host is not None and not invocation.command.handler.startswith("system:"):
        in_one_line = host.notes_in_one_line and host.notes
        for text in ["; ".join(host.notes)] if in_one_line else host.notes:
            _note(text)


def _note(text: str) -> None:
    try:
        sys.stderr.write(f"Note: {text}\n")
    except OSError:
        pass  # EPIPE, EIO, ENOSPC: nobody is left to be told


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_is_gone()
    except OSError as error:
        # ENOSPC and EIO: what was printed is lost, which a script must learn.
        print_error(f"write to standard output: {error.strerror}")
        _forget_stdout()
        return code or 125
    return code


def _reader_is_gone() -> int:
    _forget_stdout()
    return 141  # 128 + SIGPIPE, what the shell shows for programs that die from it


def _forget_stdout() -> None:
    """Keep the interpreter from flushing a dead standard output once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
