"""rpod from Python: what the commands call, for scripts, notebooks and test fixtures.

    from rootless import api

    with api.connect() as rpod:
        image = rpod.pull("docker.io/library/debian:12")
        done = rpod.run(image.image_id, "cat", "/etc/os-release")
        print(done.exit_code, done.stdout.decode())

        box = rpod.start("debian:12", "sleep", "60", name="box")
        print(rpod.exec(box, "id", "-u").stdout)
        print(rpod.logs(box).stdout)
        rpod.remove(box, force=True)

Every function returns records and raises `rootless.errors.RootlessError`,
`storage.errors.StorageError` or `slirp.errors.SlirpError`, each with `message`, `remedy` and
`exit_code`. Nothing is printed; what the host cannot give is in `Rpod.notes`.
"""

import os
import tempfile

from rootless.container.request import ContainerRequest, ExecRequest
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rootless.host.paths import Host
    from storage.containers import ContainerView
    from storage.events import Event
    from storage.images import ImageRecord

    OnEvent = Callable[[Event], None]


class Completed(NamedTuple):
    """A command that has ended: its exit code, and what it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Rpod:
    """One user's store and run root. Make it with `connect`."""

    def __init__(self, host: "Host") -> None:
        self.host = host

    def __enter__(self) -> "Rpod":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        """Nothing is held open: containers live on until they end or are removed."""

    @property
    def notes(self) -> list[str]:
        """What this host could not give so far, one line each."""
        return list(self.host.notes)

    # --- images

    def pull(
        self, name: str, *, policy: str = "always", on_event: "OnEvent | None" = None
    ) -> "ImageRecord":
        """Fetch an image; `policy` is always, missing, newer or never.

        Raises InvalidReference, RegistryError, ImageNotFound, StoreUnusable.
        """
        from rootless import images

        return images.obtain(self.host, name, images.PullSettings(pull=policy), on_event)

    def load(self, path: str, *, on_event: "OnEvent | None" = None) -> "list[ImageRecord]":
        """Take the images out of an archive. Raises InvalidArchive, InvalidLayer."""
        from rootless import images

        return images.load(self.host, path, on_event)

    def save(self, path: str, *names: str, form: str = "docker-archive") -> None:
        """Write images to an archive or a directory; `form` is one of `storage.save.FORMATS`.

        Raises ImageNotFound, InvalidArchive, StoreUnusable.
        """
        from rootless import archives

        archives.save(self.host, names, path, form=form)

    def build(
        self,
        context: str = ".",
        *,
        tags: "tuple[str, ...]" = (),
        file: str = "",
        target: str = "",
        build_args: "dict[str, str] | None" = None,
        on_event: "Callable[[dict[str, object]], None] | None" = None,
    ) -> "ImageRecord":
        """Build an image; `on_event` gets what `rootless.build.events` describes.

        Raises BuildError, StepFailed, ContextError, ImageNotFound, StoreUnusable.
        """
        from rootless.build.engine import build, open_sources
        from rootless.build.finish import check_request, finish
        from rootless.build.request import BuildRequest
        from rootless.build.workplace import Workplace

        request = BuildRequest(
            context=context,
            files=(file,) if file else (),
            target=target,
            tags=tags,
            build_args=build_args or {},
        )
        outputs = check_request(request)
        with Workplace(self.host) as workplace:
            opened = open_sources(workplace, request)
            try:
                done = build(workplace, request, opened, on_event or (lambda event: None))
            finally:
                opened.context.close()
            pairs = list(zip(done.built, done.base_layers, strict=True))
            record = finish(workplace, request, pairs, outputs).record
        assert record is not None
        return record

    def images(self) -> "list[ImageRecord]":
        """Return every image."""
        from rootless import images

        return images.images(self.host)

    def remove_image(self, name: str, *, force: bool = False) -> None:
        """Remove a name, with the last one the image and its space. Raises ImageNotFound, InUse."""
        from rootless import images, naming

        naming.remove(self.host, name, force=force)
        images.collect(self.host)

    # --- containers

    def run(self, image: str, *command: str, **options: object) -> Completed:
        """Run a command in a new container to its end, and remove the container.

        `options` are the fields of ContainerRequest: `volume=("/data:/data:ro",)`, `env=("A=1",)`.
        """
        container_id = self.create(image, *command, **options)
        try:
            self.start_created(container_id)
            exit_code = self.wait(container_id)
            written = self.logs(container_id)
        finally:
            self.remove(container_id, force=True)
        return Completed(exit_code, written.stdout, written.stderr)

    def start(self, image: str, *command: str, **options: object) -> str:
        """Start a container in the background and return its id."""
        container_id = self.create(image, *command, **options)
        try:
            self.start_created(container_id)
        except BaseException:
            self.remove(container_id, force=True)
            raise
        return container_id

    def create(self, image: str, *command: str, **options: object) -> str:
        """Make a container and return its id. Raises UsageError for an unknown option."""
        from rootless.container.create import create
        from rootless.errors import UsageError

        unknown = set(options) - set(ContainerRequest._fields)
        if unknown:
            raise UsageError(
                f"create a container: unknown option {sorted(unknown)[0]}",
                remedy="the options are the fields of ContainerRequest",
            )
        fields = {
            **ContainerRequest._field_defaults,
            **options,
            "image": image,
            "command": command,
        }
        if isinstance(fields["network"], str):
            fields["network"] = (fields["network"],)
        request = ContainerRequest._make(fields[name] for name in ContainerRequest._fields)
        return create(self.host, request).id

    def start_created(self, container: str) -> None:
        """Start a container that was made or has ended. Raises ContainerNotFound."""
        from rootless.container.lifecycle import start

        start(self.host, container)

    def exec(
        self,
        container: str,
        *command: str,
        user: str | None = None,
        workdir: str | None = None,
        env: tuple[str, ...] = (),
    ) -> Completed:
        """Run a further command in a running container.

        Raises ContainerNotFound, ContainerStateError, CommandNotFound, CommandNotExecutable.
        """
        from rootless.container.exec import exec_in

        request = ExecRequest(
            container=container, command=command, user=user, workdir=workdir, env=env
        )
        return _captured(lambda: exec_in(self.host, request))

    def logs(self, container: str, *, tail: int | None = None) -> Completed:
        """Return what a container has written so far. Raises ContainerNotFound."""
        from rootless.container.logs import write_logs

        def write() -> int:
            write_logs(self.host, (container,), tail=tail)
            return 0

        return _captured(write)

    def wait(self, container: str) -> int:
        """Wait for the end of a container and return its exit code. Raises ContainerNotFound."""
        from rootless.container.ending import wait

        return wait(self.host, container)

    def stop(self, container: str, *, timeout_s: int | None = None) -> None:
        """Ask a container to end, kill it after the grace time. Raises ContainerNotFound."""
        from rootless.container.ending import stop

        stop(self.host, container, timeout_s)

    def remove(self, container: str, *, force: bool = False) -> None:
        """Remove a container and its anonymous volumes. Raises ContainerNotFound, InUse."""
        from rootless.container.ending import remove

        remove(self.host, container, force=force, volumes=True)

    def containers(self, *, all_states: bool = False) -> "list[ContainerView]":
        """Return the running containers, or all; the newest first."""
        from rootless.container.query import list_views

        return list_views(self.host, all_states=all_states)

    def inspect(self, container: str) -> dict[str, object]:
        """Return podman's document of a container. Raises ContainerNotFound."""
        from rootless.container.query import find_view, inspect_container

        return inspect_container(find_view(self.host, container), self.host)


def connect(root: str | None = None, runroot: str | None = None) -> Rpod:
    """Open the caller's store, the default one or another. Raises StoreUnusable, HostError."""
    from rootless.host.paths import open_host

    return Rpod(open_host(root, runroot))


def _captured(function: "Callable[[], int]") -> Completed:
    """Run what writes to descriptors 1 and 2 in a forked child, with files in their place."""
    import json

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(function, writer, out.fileno(), err.fileno())
        os.close(writer)
        with open(reader, "rb") as pipe:
            report = pipe.read()
        os.waitpid(pid, 0)
        code, failure = json.loads(report or b"[null, null]")
        if code is None:
            from rootless.container.attach import revive

            raise revive(failure or ["rootless.errors", "RootlessError", "it was killed", ""])
        out.seek(0)
        err.seek(0)
        return Completed(code, out.read(), err.read())


def _child(function: "Callable[[], int]", writer: int, out: int, err: int) -> None:
    """Body of the forked child; never returns."""
    import json

    from rootless.container.supervise import describe_error

    report: list[object] = [None, None]
    try:
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, target in ((null, 0), (out, 1), (err, 2)):
            os.dup2(fd, target)
        report = [function(), None]
    except BaseException as error:  # noqa: BLE001 - top of a forked child
        report = [None, describe_error(error)]
    finally:
        os.write(writer, json.dumps(report).encode())
        os._exit(0)
