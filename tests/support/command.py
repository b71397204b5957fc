"""The command under test, run as an account: `rpod`, or what RPOD_COMMAND names."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, NamedTuple

import pexpect

from tests.support.accounts import Account

# A slow machine (the emulated one of contrib/lab) multiplies every time limit.
TIME_FACTOR = float(os.environ.get("RPOD_TESTS_TIME_FACTOR", "1"))


class Done(NamedTuple):
    """What one command left: exit status and both streams."""

    argv: tuple[str, ...]
    code: int
    out_bytes: bytes
    err_bytes: bytes

    @property
    def out(self) -> str:
        return self.out_bytes.decode(errors="replace")

    @property
    def err(self) -> str:
        return self.err_bytes.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def told(self) -> str:
        """The whole as text, for the message of a failed assertion."""
        return f"$ {shlex.join(self.argv)}\nexit {self.code}\nout: {self.out}\nerr: {self.err}"


def command_line() -> list[str]:
    """Return the argument list that starts the command under test."""
    chosen = os.environ.get("RPOD_COMMAND")
    if chosen:
        return shlex.split(chosen)
    beside = os.path.join(os.path.dirname(sys.executable), "rpod")
    found = beside if os.access(beside, os.X_OK) else shutil.which("rpod")
    if found is None:
        raise RuntimeError("no rpod beside this Python nor in PATH: pip install -e '.[dev]'")
    return [found]


def is_podman() -> bool:
    return os.path.basename(command_line()[0]) == "podman"


class Command:
    """Call the command as an account, with a home and a runtime directory of its own."""

    def __init__(self, account: Account, environment: dict[str, str]) -> None:
        self.account = account
        self.environment = environment
        self.prefix = command_line()

    def _environment(self, extra: dict[str, str] | None) -> dict[str, str]:
        environment = {**self.environment, **(extra or {})}
        return {name: value for name, value in environment.items() if value != ""}

    def _drop(self, argv: Sequence[str]) -> list[str]:
        """Return the argument list that becomes the account first (a new exec: dumpable again)."""
        if os.getuid() != 0:
            return [*self.prefix, *argv]
        return [*self.dropping(), *self.prefix, *argv]

    def dropping(self) -> list[str]:
        """Return the start of an argument list that runs the rest as the account."""
        if os.getuid() != 0:
            return []
        ids = (f"--reuid={self.account.uid}", f"--regid={self.account.gid}", "--clear-groups")
        return ["setpriv", *ids, "--"]

    def __call__(
        self,
        *argv: str,
        check: bool = True,
        input: bytes = b"",
        timeout_s: float = 60,
        env: dict[str, str] | None = None,
        cwd: str = "/",
    ) -> Done:
        """Run to the end. Fails the test when `check` and the exit status is not 0."""
        process = self.spawn(*argv, stdin=subprocess.PIPE, env=env, cwd=cwd)
        try:
            out, err = process.communicate(input, timeout=timeout_s * TIME_FACTOR)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            done = Done(argv, -9, out, err)
            raise AssertionError(f"not done after {timeout_s} s\n{done.told}") from None
        done = Done((*self.prefix, *argv), process.returncode, out, err)
        assert not check or done.code == 0, done.told
        assert "Traceback (most recent call last)" not in done.err, done.told
        return done

    def spawn(
        self,
        *argv: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        env: dict[str, str] | None = None,
        cwd: str = "/",
    ) -> subprocess.Popen[bytes]:
        """Start without waiting."""
        return subprocess.Popen(
            self._drop(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self._environment(env),
            cwd=cwd,
            umask=0o022,
            start_new_session=True,
        )

    def pty(
        self, *argv: str, timeout_s: float = 20, size: tuple[int, int] = (24, 80)
    ) -> "pexpect.spawn[str]":
        """Start on a terminal of (rows, columns); the caller closes it."""
        whole = self._drop(argv)
        return pexpect.spawn(
            whole[0],
            whole[1:],
            env={**self._environment(None), "TERM": "xterm"},
            timeout=timeout_s * TIME_FACTOR,
            dimensions=size,
            encoding="utf-8",
            codec_errors="replace",
            cwd="/",
        )

    def shell(self, script: str, *, env: dict[str, str] | None = None, check: bool = True) -> Done:
        """Run a shell line as the account, with the same environment and `$RPOD` as the command."""
        environment = {**self._environment(env), "RPOD": shlex.join(self.prefix)}
        done = subprocess.run(
            [*self.dropping(), "sh", "-c", script],
            env=environment,
            capture_output=True,
            check=False,
            cwd="/",
            timeout=60 * TIME_FACTOR,
            start_new_session=True,
        )
        result = Done(("sh", "-c", script), done.returncode, done.stdout, done.stderr)
        assert not check or result.code == 0, result.told
        return result
