"""run, create, exec."""

import os
import sys

from rootless.cli.progress import Reporter
from rootless.container.request import ContainerRequest, ExecRequest
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from rootless.images import OnEvent
    from storage.containers import ContainerRecord

_NO_TERMINAL = (
    "The input device is not a TTY. The --tty and --interactive flags might not work properly\n"
)


def make_request(invocation: "Invocation", host: "Host") -> ContainerRequest:
    """Return what was asked for; what was not, the configuration or the defaults say."""
    config = host.config
    configured: dict[str, object] = {
        "pull": config.pull,
        "detach_keys": config.detach_keys,
        "stop_timeout": config.stop_timeout,
    }
    if config.network:
        configured["network"] = (config.network,)
    if config.userns:
        configured["userns"] = config.userns
    configured.update(invocation.given)
    configured["create_command"] = _typed(invocation.text("creds"))
    is_rootfs = configured.pop("rootfs", False)
    request = ContainerRequest()
    fields = request._fields
    request = ContainerRequest._make(
        configured.get(field, default) for field, default in zip(fields, request, strict=True)
    )
    if not is_rootfs:
        return request
    from rootless.container.plain_rootfs import with_rootfs

    return with_rootfs(request, os.getcwd())


def _typed(creds: str) -> tuple[str, ...]:
    """Return the command line under podman's name, without a password."""
    words = tuple("***" if creds and word == creds else word for word in sys.argv[1:])
    given = f"--creds={creds}"
    return ("podman", *("--creds=***" if creds and word == given else word for word in words))


def run(invocation: "Invocation") -> int:
    """Run a command in a new container; the exit code is the command's."""
    from rootless.container.launch import MonitorProcess

    host = invocation.host()
    if "explain" in invocation.given or "explain_json" in invocation.given:
        return _explain(invocation, host)
    request = make_request(invocation, host)
    if request.rmi:
        if request.detach:
            raise UsageError("--rmi and --detach do not go together", remedy="leave --rmi out")
        request = request._replace(rm=True)
    with MonitorProcess(
        host, attach=not request.detach, preserve_fds=request.preserve_fds
    ) as monitor:
        from rootless.container import lifecycle

        lifecycle.check_request(request)
        _warn_without_terminal(tty=request.tty, interactive=request.interactive)
        with Reporter(quiet=request.quiet) as on_event:
            record = _create(host, request, on_event)
        # The progress is off the terminal before the container takes it.
        result = lifecycle.run_created(host, record, request, monitor)
    if request.rmi:
        _remove_image(host, record)
    if request.detach or request.attach == ("stdin",):
        sys.stdout.write(f"{result.container_id}\n")
    return result.exit_code


def _create(
    host: "Host", request: ContainerRequest, on_event: "OnEvent | None"
) -> "ContainerRecord":
    if request.pod or request.pod_id_file or request.init_ctr is not None:
        from rootless.container.pods_join import create_in_pod

        return create_in_pod(host, request, on_event)
    from rootless.container.create import create as create_container

    return create_container(host, request, on_event)


def _explain(invocation: "Invocation", host: "Host") -> int:
    """Print what would be done."""
    from rootless.cli.output import write, write_json
    from rootless.container import run_plan

    request = make_request(invocation, host)
    with Reporter(quiet=request.quiet) as on_event:
        plan = run_plan.explain_run(host, request, on_event)
    if invocation.flag("explain_json"):
        write_json(plan, indent=2)
    else:
        write(run_plan.as_text(plan))
    return 0


def _remove_image(host: "Host", record: "ContainerRecord") -> None:
    """Remove the image of a container that is gone, unless something else needs it."""
    from rootless import images, naming
    from storage.errors import ImageNotFound, InUse

    try:
        naming.remove(host, record.image_name)
    except (ImageNotFound, InUse) as error:
        host.note(f"--rmi: {error.message}")
        return
    images.collect(host)


def create(invocation: "Invocation") -> int:
    """Make a container and print its id."""
    host = invocation.host()
    request = make_request(invocation, host)
    with Reporter(quiet=request.quiet) as on_event:
        record = _create(host, request, on_event)
    sys.stdout.write(f"{record.id}\n")
    return 0


def exec_command(invocation: "Invocation") -> int:
    """Run a command in a running container; the exit code is the command's."""
    from rootless.container.exec import exec_in

    host = invocation.host()
    given = {name: value for name, value in invocation.given.items() if name != "latest"}
    request = ExecRequest(detach_keys=host.config.detach_keys)
    request = ExecRequest._make(
        given.get(field, default) for field, default in zip(request._fields, request, strict=True)
    )
    if invocation.flag("latest"):
        from rootless.cli.commands.selection import latest

        request = request._replace(
            container=latest(host), command=(request.container, *request.command)
        )
    if not request.command:
        raise UsageError("must provide a command to execute", remedy="rpod exec CONTAINER COMMAND")
    _warn_without_terminal(tty=request.tty, interactive=request.interactive)
    return exec_in(host, request)


def _warn_without_terminal(*, tty: bool, interactive: bool) -> None:
    if tty and interactive and not os.isatty(0):
        sys.stderr.write(_NO_TERMINAL)
