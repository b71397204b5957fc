"""`post_start` and `pre_stop`: commands in a container after its start and before its end."""

import os
import tempfile

from rootless.compose.errors import ComposeError
from rootless.compose.parts import Part
from rootless.container.request import ExecRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.identity import Member
    from rootless.host.paths import Host

_SHOWN_BYTES = 500


def run_hooks(host: "Host", one: "Member", service: Part, kind: str) -> None:
    """Run the hooks of a service in a container, one after the other. Raises ComposeError."""
    for hook in service.parts(kind):
        request = ExecRequest(
            container=one.id,
            command=hook.texts("command"),
            user=hook.text("user") or None,
            workdir=hook.text("working_dir") or None,
            privileged=hook.flag("privileged"),
            env=tuple(f"{key}={value}" for key, value in hook.words("environment").items()),
        )
        with tempfile.TemporaryFile() as output:
            code = _run(host, request, output.fileno())
            if code:
                output.seek(0)
                said = " ".join(output.read(_SHOWN_BYTES).decode(errors="replace").split())
                raise ComposeError(f"{one.name}: {kind} hook exited with status {code}: {said}")


def _run(host: "Host", request: ExecRequest, output: int) -> int:
    """Run a command in a forked child that has files for its streams; return the exit code."""
    from rootless.container.exec import exec_in

    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 125
    try:
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(fd, target)
        code = exec_in(host, request)
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        text = str(getattr(error, "message", error))
        os.write(2, text.encode(errors="replace"))
        code = getattr(error, "exit_code", 125)
    finally:
        os._exit(code)
