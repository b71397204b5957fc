"""Which stages a build needs, and which of them wait for which."""

from rootless.build import model
from rootless.build.errors import BuildError
from rootless.build.model import Instruction, Stage
from rootless.build.parser import Parsed, parse_fragment
from rootless.build.scope import GlobalArguments, Scope
from rootless.errors import RootlessError, UsageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SCRATCH = "scratch"


class Node(NamedTuple):
    """A stage with its FROM expanded, and the positions of the stages that it waits for.

    `base` is a position, or -1 for an image or scratch.
    """

    stage: Stage
    base: int
    needs: frozenset[int]


class Graph(NamedTuple):
    """The stages that the target needs, in the order of the Containerfile."""

    nodes: tuple[Node, ...]
    target: int


def find_stage(stages: tuple[Stage, ...], name: str, before: int) -> int:
    """Return the position of an earlier stage by name or number, -1 when there is none."""
    for stage in reversed(stages[:before]):
        if stage.source.name and stage.source.name.lower() == name.lower():
            return stage.position
    if name.isdecimal() and len(name) < 9 and int(name) < before:
        return int(name)
    return -1


def make_graph(
    parsed: Parsed,
    arguments: GlobalArguments,
    target: str,
    contexts: "frozenset[str]",
    triggers: "Mapping[int, tuple[str, ...]] | None" = None,
    *,
    all_stages: bool = False,
) -> Graph:
    """Find out what a target needs; "" is the last stage.

    With `all_stages` the stages before the target are built whether it needs them or not.
    `triggers` are the ONBUILD instructions of images, by the position of the stage that begins with
    one: they may copy from stages, too. Raises BuildError, UsageError.
    """
    stages = _expanded(parsed, arguments)
    position = len(stages) - 1
    if target:
        position = find_stage(stages, target, len(stages))
        if position < 0:
            names = [stage.source.name or str(stage.position) for stage in stages]
            raise UsageError(
                f"--target {target}: there is no such stage in {parsed.file.name}",
                remedy=f"known: {', '.join(names)}",
            )
    texts = triggers or {}
    nodes = [
        _node(parsed, arguments, stages, stage, contexts, texts.get(stage.position, ()))
        for stage in stages
    ]
    needed: set[int] = set()
    todo = [*range(position)] if all_stages else []
    todo.append(position)
    while todo:
        one = todo.pop()
        if one not in needed:
            needed.add(one)
            todo.extend(nodes[one].needs)
    return Graph(tuple(nodes[one] for one in sorted(needed)), position)


def _expanded(parsed: Parsed, arguments: GlobalArguments) -> tuple[Stage, ...]:
    """Expand the FROM lines: they see the arguments before the first FROM, and platforms."""
    found = []
    for stage in parsed.stages:
        line = stage.source.range.first
        expander = arguments.expander(parsed.escape)
        try:
            base = expander.word(stage.source.base)
            platform = expander.word(stage.source.platform)
        except RootlessError as error:
            raise parsed.file.fail(error.message, line, remedy=error.remedy) from error
        if not base:
            raise parsed.file.fail(
                f"FROM {stage.source.base[:60]}: the name of the image is empty", line,
                remedy="give the argument a default before FROM, or use --build-arg",
            )  # fmt: skip
        found.append(stage._replace(source=stage.source._replace(base=base, platform=platform)))
    names: dict[str, int] = {}
    for stage in found:
        name = stage.source.name.lower()
        if name and name in names:
            raise parsed.file.fail(
                f"the stage {stage.source.name} is already defined in line {names[name]}",
                stage.source.range.first,
            )
        names[name] = stage.source.range.first
    return tuple(found)


def _node(
    parsed: Parsed,
    arguments: GlobalArguments,
    stages: tuple[Stage, ...],
    stage: Stage,
    contexts: frozenset[str],
    triggers: tuple[str, ...],
) -> Node:
    base = -1
    if stage.source.base.lower() != SCRATCH and stage.source.base not in contexts:
        base = find_stage(stages, stage.source.base, stage.position)
        if stage.source.base.isdecimal():
            base = -1  # an image may be called so; only --from= counts stages
    needs = {base} if base >= 0 else set()
    if base >= 0:
        triggers = _stored(stages[base])
    first = _triggered(triggers, stage)
    whole = stage._replace(instructions=(*first, *stage.instructions))
    for name, instruction in origins(whole, arguments, parsed.escape):
        if name in contexts:
            continue
        found = find_stage(stages, name, stage.position)
        if found < 0:
            later = find_stage(stages, name, len(stages))
            if later >= 0 and not name.isdecimal():
                raise _cycle(parsed, stage, name, later, instruction)
            if name.isdecimal():
                raise parsed.file.fail(
                    f"--from={name}: there is no stage {name} before this one",
                    instruction.range.first,
                )
            continue
        needs.add(found)
    return Node(stage, base, frozenset(needs))


def _stored(stage: Stage) -> tuple[str, ...]:
    """Return what a stage leaves for those that begin with it."""
    return tuple(one.text for one in stage.instructions if isinstance(one, model.Onbuild))


def _triggered(texts: tuple[str, ...], stage: Stage) -> list[Instruction]:
    """Read ONBUILD instructions; they are told to be in the line of the FROM that runs them."""
    found: list[Instruction] = []
    for text in texts:
        for instruction in parse_fragment(text, "\\", f"ONBUILD of {stage.source.base}"):
            found.append(instruction._replace(range=stage.source.range))
    return found


def _cycle(
    parsed: Parsed, stage: Stage, name: str, later: int, instruction: Instruction
) -> BuildError:
    if later == stage.position:
        text = f"the stage {name} copies from itself"
    else:
        text = f"the stage {name} comes later: only earlier stages can be used"
    return parsed.file.fail(text, instruction.range.first)


def origins(stage: Stage, arguments: GlobalArguments, escape: str) -> list[tuple[str, Instruction]]:
    """Return what COPY --from and the mounts of RUN name, with arguments expanded."""
    scope = Scope(arguments, {}, escape)
    found: list[tuple[str, Instruction]] = []
    environment: dict[str, str] = {}
    for instruction in stage.instructions:
        try:
            match instruction:
                case model.Arg():
                    scope.declare(instruction, environment)
                case model.Env():
                    expander = scope.expander(environment)
                    environment |= {k: expander.word(v) for k, v in instruction.pairs}
                case model.Copy() if instruction.origin:
                    found.append(
                        (scope.expander(environment).word(instruction.origin), instruction)
                    )
                case model.Run():
                    for mount in instruction.mounts:
                        name = dict(mount.fields).get("from", "")
                        if name:
                            found.append((scope.expander(environment).word(name), instruction))
                case _:
                    continue
        except RootlessError:
            # It is told when the instruction is executed, with its place.
            continue
    return found
