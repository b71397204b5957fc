"""Build one stage: execute its instructions, or find in the cache what they made before."""

import time

from rootless.build import image_config, model
from rootless.build.cache import Cache
from rootless.build.errors import BuildError, StepFailed
from rootless.build.expansion import expand
from rootless.build.model import Instruction, Layer, Stage
from rootless.build.parser import Parsed, parse_fragment
from rootless.build.request import BuildRequest
from rootless.build.result import Result
from rootless.build.scope import GlobalArguments, Scope
from rootless.build.sources import Sources
from rootless.build.workplace import Workplace
from rootless.errors import RootlessError
from storage.build_cache import CachedStep
from storage.errors import BlobMissing, StorageError
from storage.layers import chain_ids
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.build.events import Emit
    from rootless.host.paths import Host


class Steps(NamedTuple):
    """What executes the instructions that change files."""

    run: "Callable[[StageBuilder, model.Run], None]"
    copy: "Callable[[StageBuilder, model.Copy | model.Add], None]"
    make_directory: "Callable[[StageBuilder, str], Layer | None]"


class Build(NamedTuple):
    """What all stages of a build share."""

    host: "Host"
    workplace: Workplace
    request: BuildRequest
    parsed: Parsed
    arguments: GlobalArguments
    platform: str
    sources: Sources
    steps: Steps
    emit: "Emit"


class StageBuilder:
    """Executes one stage on top of its base; `run` returns what has become of it."""

    def __init__(self, build: Build, stage: Stage, base: Result) -> None:
        self.build = build
        self.stage = stage
        self.name = stage.source.name or str(stage.position)
        built = base.built
        self.layers: list[Layer] = list(built.layers)
        self.config: dict[str, object] = dict(built.config)
        self.history: list[dict[str, object]] = list(built.history)
        self.author = built.author
        self.built = built
        self.scope = Scope(build.arguments, base.arguments, build.parsed.escape)
        self.cache = Cache(build.host, build.request, self.name)
        self.base_layers = base.base_layers
        self.executed = 0
        self._has_cmd = False
        self._texts = {one.range.first: one.text for one in build.parsed.logicals}

    def run(self) -> Result:
        """Execute the instructions. Raises BuildError, StorageError."""
        triggers = self._triggers()
        total = 1 + len(triggers) + len(self.stage.instructions)
        self._tell_start(1, total, self._text(self.stage.source.range))
        self._tell_end("")
        number = 1
        for text, instruction in triggers:
            number += 1
            self._tell_start(number, total, text)
            self._step(instruction)
        for instruction in self.stage.instructions:
            number += 1
            self._tell_start(number, total, self._text(instruction.range))
            self._step(instruction)
        built = self.built._replace(
            layers=tuple(self.layers),
            config=self.config,
            history=tuple(self.history),
            author=self.author,
        )
        return Result(built, self.scope.arguments, self.base_layers, self.executed)

    def _triggers(self) -> list[tuple[str, Instruction]]:
        """Take the ONBUILD instructions of the base image: they come before the stage's own."""
        found: list[tuple[str, Instruction]] = []
        for text in image_config.texts(self.config, "OnBuild"):
            where = f"ONBUILD of {self.stage.source.base}"
            for instruction in parse_fragment(text, "\\", where):
                found.append((text.partition("\n")[0], _at(instruction, self.stage.source.range)))
        self.config.pop("OnBuild", None)
        return found

    def _text(self, where: model.Range) -> str:
        return self._texts.get(where.first, "")

    def _step(self, instruction: Instruction) -> None:
        try:
            self._execute(instruction)
        except StepFailed:
            raise
        except BuildError as error:
            if error.excerpt:
                raise
            raise self._located(instruction, error.message, error.remedy) from error
        except (RootlessError, StorageError) as error:
            raise self._located(instruction, error.message, error.remedy) from error

    def _located(self, instruction: Instruction, message: str, remedy: str) -> BuildError:
        file = self.build.parsed.file
        return BuildError(
            f"{file.name}:{instruction.range.first}: {message}",
            remedy=remedy,
            excerpt=file.excerpt(instruction.range),
        )

    def _execute(self, instruction: Instruction) -> None:
        environment = image_config.environment(self.config)
        if isinstance(instruction, model.Arg):
            self.scope.declare(instruction, environment)
            # As in docker: no value, for it may be confidential and is not part of the image.
            self._empty_step(f"ARG {' '.join(_arg_texts(instruction))}")
            return
        expander = self.scope.expander(environment)
        expanded = expand(instruction, expander)
        match expanded:
            case model.Run():
                self.build.steps.run(self, expanded)
            case model.Copy() | model.Add():
                self.build.steps.copy(self, expanded)
            case model.Workdir():
                self._workdir(expanded)
            case model.Maintainer():
                self.author = expanded.name
                self._empty_step(f"MAINTAINER {expanded.name}")
            case _:
                self._has_cmd = self._has_cmd or isinstance(expanded, model.Cmd)
                if isinstance(expanded, model.Entrypoint) and not self._has_cmd:
                    # Dockerfile reference, ENTRYPOINT: it resets a CMD of the base image.
                    self.config.pop("Cmd", None)
                self._empty_step(image_config.edit(self.config, expanded))

    # --- steps

    def _empty_step(self, text: str) -> None:
        """Add a step that changes the configuration only.

        It is kept as well, so that the same build gives the same times and the same image.
        """
        inputs = {
            "platform": self.build.platform,
            "layers below": " ".join(self.diff_ids()),
            "history": "\n".join(str(entry.get("created_by")) for entry in self.history),
            "text": text,
        }
        found = self.cache.find(inputs) or self.cache.keep(inputs, text, None, "")
        self._add(found, text)
        self._tell_end("")

    def _history(self, text: str, made_s: float) -> dict[str, object]:
        """Return an entry of the history, with the time that was asked for, where one was."""
        asked_s = self.build.request.timestamp_s
        moment_s = made_s if asked_s is None else asked_s
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment_s))
        fraction = f".{int(moment_s % 1 * 1e6):06}" if asked_s is None else ""
        return {"created": f"{created}{fraction}Z", "created_by": text}

    def layer_step(
        self,
        text: str,
        where: model.Range,
        inputs: dict[str, str],
        execute: "Callable[[], Layer | None]",
    ) -> None:
        """Find a step in the cache by its inputs, or execute it; then put its layer on top.

        Raises what `execute` raises.
        """
        inputs = {"platform": self.build.platform, **inputs}
        options = self.build.request.layer_options
        if options.latest_s is not None:
            inputs["times"] = f"{options.latest_s} {options.exact}"
        found = self._find(inputs)
        place = self.cache.place(self.build.parsed.file.name, where.first, self.build.platform)
        why = "" if found is not None else self.cache.explain(place, inputs)
        if found is None:
            self._tell_miss(why)
            layer = execute()
            self.executed += 1
            if layer is not None:
                self._need(layer.digest, self.chain_with(layer))
            found = self.cache.keep(inputs, text, layer, self.chain_with(layer))
        else:
            why = f"found, made {_ago(time.time() - found.created_s)}"
        self.cache.remember(place, inputs)
        self._add(found, text)
        self._tell_end(why)

    def _find(self, inputs: dict[str, str]) -> CachedStep | None:
        """Look into the cache; what is found stays until the build ends."""
        found = self.cache.find(inputs)
        if found is not None and found.digest:
            try:
                self._need(found.digest, found.chain_id)
            except BlobMissing:
                return None
        return found

    def _need(self, digest: str, chain_id: str) -> None:
        self.build.workplace.need((digest, chain_id), (digest,))

    def chain_with(self, layer: Layer | None) -> str:
        """Return the chain id of a layer on top of those that are there."""
        if layer is None:
            return ""
        return chain_ids((*self.diff_ids(), layer.diff_id))[-1]

    def _add(self, step: CachedStep, text: str) -> None:
        entry = self._history(text, step.created_s)
        if step.digest:
            self.layers.append(Layer(step.digest, step.size, step.diff_id, step.media_type))
        else:
            entry["empty_layer"] = True
        self.history.append(entry)

    def diff_ids(self) -> tuple[str, ...]:
        """Return the digests of the layers so far, the lowest first."""
        return tuple(layer.diff_id for layer in self.layers)

    def chains(self) -> tuple[str, ...]:
        """Return the chain ids of the layers so far, the lowest first."""
        return chain_ids(self.diff_ids())

    def tree(self) -> model.Tree:
        """Return the root file system so far; its layers are unpacked."""
        self.build.sources.unpack(tuple(self.layers))
        return model.Tree(self.build.workplace.map_key, self.chains())

    def layer_paths(self) -> tuple[str, ...]:
        """Return the unpacked layers, the top one first."""
        tree = self.tree()
        layout = self.build.host.layout
        return tuple(layout.layer_diff(tree.map_key, chain) for chain in reversed(tree.chain_ids))

    def _workdir(self, instruction: model.Workdir) -> None:
        text = image_config.edit(self.config, instruction)
        path = image_config.text(self.config, "WorkingDir")
        inputs = {"layers below": " ".join(self.diff_ids()), "directory": path}

        def execute() -> Layer | None:
            return self.build.steps.make_directory(self, path)

        self.layer_step(text, instruction.range, inputs, execute)

    # --- what people see

    def _tell_start(self, number: int, total: int, text: str) -> None:
        self.build.emit(
            {"kind": "start", "stage": self.stage.position, "name": self.stage.source.name,
             "number": number, "total": total, "text": text}
        )  # fmt: skip

    def _tell_miss(self, why: str) -> None:
        self.build.emit({"kind": "run", "stage": self.stage.position, "why": why})

    def _tell_end(self, why: str) -> None:
        last = self.layers[-1].diff_id if self.layers else ""
        self.build.emit(
            {"kind": "end", "stage": self.stage.position, "why": why, "digest": last,
             "cached": why.startswith("found")}
        )  # fmt: skip

    def output(self, stream: int, data: bytes) -> None:
        """Pass on what a command writes."""
        self.build.emit(
            {"kind": "output", "stage": self.stage.position, "stream": stream,
             "data": data.decode("latin-1")}
        )  # fmt: skip


def _at(instruction: Instruction, where: model.Range) -> Instruction:
    return instruction._replace(range=where)


def _arg_texts(argument: model.Arg) -> list[str]:
    return [name if value is None else f"{name}={value}" for name, value in argument.pairs]


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(int(seconds), 0)} seconds ago"
