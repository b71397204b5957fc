"""How an error is told: one line with what went wrong, one with what to do about it."""

import os
import sys

from rootless.errors import words_of

_RED = "\x1b[31m"
_RESET = "\x1b[0m"


def report(error: BaseException) -> int:
    """Print an error as `Error: message`, its remedy below, and return its exit code."""
    message = getattr(error, "message", None)
    if os.environ.get("RPOD_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(message, str):
        print_error(message, str(getattr(error, "remedy", "")))
    elif isinstance(error, OSError):
        print_error(*words_of(error))
    elif isinstance(error, RecursionError | MemoryError):
        print_error("out of memory" if isinstance(error, MemoryError) else "nested too deeply")
    else:
        print_error(
            f"internal error: {type(error).__name__}: {error}",
            "this is a defect of rpod: run the command with RPOD_DEBUG=1 and report it",
        )
    for note in getattr(error, "__notes__", ()):
        sys.stderr.write(f"  {note}\n")
    code = getattr(error, "exit_code", 125)
    return code if isinstance(code, int) else 125


def print_error(message: str, remedy: str = "") -> None:
    """Write `Error: message` and the remedy's line to standard error."""
    label = "Error:"
    if is_coloured(sys.stderr):
        label = f"{_RED}{label}{_RESET}"
    text = f"{label} {_visible(message)}\n"
    if remedy:
        text += f"  {_visible(remedy)}\n"
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # EPIPE, EIO, ENOSPC: nobody is left to be told


def _visible(text: str) -> str:
    """Escape what would move the cursor or worse: an image or a registry chose parts of it."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    if "\udc80" <= character <= "\udcff":
        # A byte that is no UTF-8, as os.fsdecode() keeps it.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def is_coloured(stream: object) -> bool:
    """Say whether colours are wanted: a terminal, and neither NO_COLOR nor TERM=dumb."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    isatty = getattr(stream, "isatty", None)
    return callable(isatty) and bool(isatty())
