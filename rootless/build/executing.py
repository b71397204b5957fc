"""Execute a RUN or a WORKDIR that is not in the cache: a bundle, mounts, a layer of the changes."""

import os

from rootless.build import image_config, marks, model, sandbox, upper
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
from rootless.errors import CommandNotExecutable, UsageError
from rootless.sandbox.drivers import COPY, FUSE
from storage.owners import ROOT
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
        self._owner = ROOT
        self._tail: list[bytes] = []

    def execute(self, environment: dict[str, str]) -> Layer:
        """Run the command, and make what it has changed a layer."""
        builder = self._builder
        host = builder.build.host
        sandbox.make_bundle(self._directory, self._layers)
        try:
            if builder.build.workplace.driver == COPY:
                self._copy_layers()
            with self._mounts.prepared(self._directory) as made:
                command = self._command(environment, made.environment)
                command = command._replace(
                    sources=(*command.sources, *made.sources), operations=made.operations
                )
                self._owner = sandbox.owner_of(host, command)
                code = self._execute(command)
                if code:
                    self._offer_shell(command)
                    raise self._failed(code)
            given = (source.mount.target for source in command.sources)
            return self._commit((*upper.MOUNT_POINTS, *made.targets, *given))
        finally:
            builder.build.workplace.run(lambda _: remove_tree(self._directory))

    def _execute(self, command: sandbox.Command) -> int:
        try:
            return sandbox.run_command(
                self._builder.build.host, self._directory, command, self._output
            )
        except CommandNotExecutable as error:
            from rootless.host.emulators import missing

            error.remedy = missing(command.platform) or error.remedy
            raise

    def _copy_layers(self) -> None:
        """Fill the root file system where nothing can be laid over the layers."""
        from storage.build.reducing import note_copy
        from storage.flatten import flatten

        layout = self._builder.build.host.layout
        tree = self._builder.tree()
        copy = f"{self._directory}/rootfs"

        def work(_: object) -> None:
            flatten(layout, tree.map_key, tree.chain_ids, copy)
            note_copy(copy, f"{self._directory}/noted")

        self._builder.build.workplace.run(work)

    def _commit(self, targets: tuple[str, ...]) -> Layer:
        """Make a layer of what has changed. Raises StoreUnusable, DiskFull."""
        build = self._builder.build
        directory, layers = self._directory, self._layers
        driver = build.workplace.driver
        path = f"{directory}/rootfs" if driver == COPY else f"{directory}/upper"

        def tidy() -> None:
            if driver == COPY:
                from storage.build.reducing import reduce_copy

                reduce_copy(path, f"{directory}/noted", layers)
            else:
                marks.normalize(path, layers, by_fuse=driver == FUSE)
            upper.tidy(path, layers, targets)

        changes = layers_of_build.Changes(path, tidy)
        if build.workplace.has_records:
            owner_of = upper.owners(directory, layers, self._owner)
            changes = changes._replace(owner_of=owner_of)
        below = Tree(build.workplace.map_key, self._builder.chains())
        return layers_of_build.commit(build.workplace, changes, below, build.request.layer_options)

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
            driver=builder.build.workplace.driver,
            platform=builder.built.platform or builder.build.platform,
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


def make_directory(builder: StageBuilder, path: str) -> Layer | None:
    """Make a directory where there is none; None when there is one."""
    below = builder.tree()
    return layers_of_build.make_directory(
        builder.build.workplace, path, below, builder.build.request.layer_options
    )
