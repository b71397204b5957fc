"""Execute a RUN or a WORKDIR that is not in the cache: a bundle, mounts, a layer of the changes."""

import os

from rootless.build import image_config, model, sandbox, upper
from rootless.build import layers as layers_of_build
from rootless.build.errors import StepFailed
from rootless.build.model import Layer, Tree
from rootless.build.mounts import Mounts
from rootless.build.stage import StageBuilder
from rootless.container import mounts as user_mounts
from rootless.container.create import working_directory
from rootless.container.merged import Accounts, read_accounts
from rootless.container.request import ContainerRequest
from rootless.container.spec import Source
from rootless.errors import UsageError
from rootless.linux import syscalls
from storage.remove import remove_tree
from storage.volumes import ensure_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_TAIL_LINES = 20


class Step:
    """One execution: its bundle, its mounts, what becomes of its upper directory."""

    def __init__(
        self,
        builder: StageBuilder,
        run: model.Run,
        arguments: tuple[str, ...],
        script: str,
        mounts: Mounts,
    ) -> None:
        self._builder = builder
        self._run = run
        self._arguments = arguments
        self._script = script
        self._mounts = mounts
        self._layers = builder.layer_paths()
        self._directory = builder.build.workplace.fresh_directory() + "/bundle"
        self._tail: list[bytes] = []

    def execute(self, environment: dict[str, str]) -> Layer:
        """Run the command, and make what it has changed a layer."""
        builder = self._builder
        host = builder.build.host
        sandbox.make_bundle(self._directory, self._layers)
        try:
            with self._mounts.prepared(self._directory) as made:
                command = self._command(environment, made.environment)
                command = command._replace(
                    sources=(*command.sources, *made.sources), operations=made.operations
                )
                code = sandbox.run_command(host, self._directory, command, self._output)
                if code:
                    self._offer_shell(command)
                    raise self._failed(code)
            given = (source.mount.target for source in command.sources)
            targets = (*upper.MOUNT_POINTS, *made.targets, *given)
            return commit_upper(builder, self._directory, self._layers, targets)
        finally:
            builder.build.workplace.run(lambda _: remove_tree(self._directory))

    def _command(self, environment: dict[str, str], added: dict[str, str]) -> sandbox.Command:
        builder, run = self._builder, self._run
        request = builder.build.request.run
        if run.network == "default":
            request = request._replace(network=())
        elif run.network:
            request = request._replace(network=(run.network,))
        if run.security == "insecure":
            request = request._replace(privileged=True)
        request = request._replace(device=(*request.device, *run.devices))
        sources: tuple[Source, ...] = ()
        if self._script:
            path = f"{self._directory}/etc/script"
            with open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(self._script)
            os.chmod(path, 0o755)  # noqa: S103 - the user of the step executes it
            sources = (sandbox.bind(path, self._arguments[0], "ro"),)
        sources += volume_sources(builder.build.host, request)
        return sandbox.Command(
            arguments=self._arguments,
            environment={**environment, **added},
            user=image_config.text(builder.config, "User"),
            workdir=image_config.text(builder.config, "WorkingDir"),
            layers=self._layers,
            accounts=accounts_of(builder, self._layers),
            request=request,
            sources=sources,
        )

    def _output(self, stream: int, data: bytes) -> None:
        self._tail.append(data)
        if len(self._tail) > 2 * _TAIL_LINES:
            self._tail = self._tail[-_TAIL_LINES:]
        self._builder.output(stream, data)

    def _offer_shell(self, command: sandbox.Command) -> None:
        build = self._builder.build
        if not build.request.debug_on_failure:
            return
        from rootless.build.debug import run_shell

        build.emit({"kind": "debug", "stage": self._builder.stage.position})
        shell = image_config.shell_of(self._builder.config)[0]
        run_shell(build.host, self._directory, command, shell)

    def _failed(self, code: int) -> StepFailed:
        builder = self._builder
        file = builder.build.parsed.file
        where = self._run.range
        shown = " ".join(self._arguments)
        return StepFailed(
            f'{file.name}:{where.first}: the command "{shown[:300]}" ended with exit code {code}',
            excerpt=file.excerpt(where),
            exit_code=code,
        )


def accounts_of(builder: StageBuilder, layers: tuple[str, ...]) -> Accounts:
    """Return the stage's passwd(5) and group(5)."""
    return read_accounts(list(layers), builder.build.host.id_maps())


def volume_sources(host: "Host", request: ContainerRequest) -> tuple[Source, ...]:
    """Return the mounts of --volume; a named volume is made where it is missing.

    Raises UsageError, MountSourceMissing, StoreUnusable.
    """
    found = []
    for mount in user_mounts.collect(request, (), working_directory()):
        path = mount.source
        if mount.kind == user_mounts.VOLUME:
            if not mount.source:
                raise UsageError("--volume needs a source: SOURCE:TARGET")
            path = ensure_volume(host.layout, mount.source, anonymous=False)
        found.append(Source(mount, path, ""))
    return tuple(found)


def commit_upper(
    builder: StageBuilder, directory: str, layers: tuple[str, ...], targets: tuple[str, ...]
) -> Layer:
    """Make the upper directory of a bundle a layer. Raises StoreUnusable, DiskFull."""
    build = builder.build
    options = build.request.layer_options
    path = f"{directory}/upper"
    below = Tree(build.workplace.map_key, builder.chains())

    def tidy() -> None:
        upper.tidy(path, layers, targets)

    return layers_of_build.commit_upper(build.workplace, path, below, options, tidy)


def make_directory(builder: StageBuilder, path: str) -> Layer | None:
    """Make a directory where there is none; None when there is one."""
    layers = builder.layer_paths()
    directory = builder.build.workplace.fresh_directory() + "/bundle"
    sandbox.make_bundle(directory, layers)

    def work(_: object) -> object:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        upper.make_directory(sandbox.root_of(directory, layers), path)
        return upper.is_empty(f"{directory}/upper")

    workplace = builder.build.workplace
    try:
        if path == "/" or workplace.run(work):
            return None
        return commit_upper(builder, directory, layers, ())
    finally:
        workplace.run(lambda _: remove_tree(directory))
