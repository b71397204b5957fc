"""`--check`: what is doubtful in a Containerfile, by the names of BuildKit's build checks.

`# check=skip=RULE,RULE` or `skip=all` in the first lines leaves rules out; `error=true` makes every
finding an error.
"""

import re

from rootless.build import model
from rootless.build.expand import Expander
from rootless.build.graph import find_stage
from rootless.build.model import Range, Stage
from rootless.build.parser import Parsed
from rootless.build.scope import GlobalArguments, Scope
from rootless.errors import RootlessError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Predicate = Callable[[str], bool]

_SECRET = re.compile(
    r"(?:^|_)(?:apikey|auth|credentials?|git|key|password|pword|passwd|secret|token)(?:_|\Z)",
    re.IGNORECASE,
)
_PUBLIC = re.compile(r"(?:^|_)public(?:_|\Z)", re.IGNORECASE)
_RESERVED_NAMES = ("scratch", "context")
_REFERENCE_TO_TARGET = ("$TARGETPLATFORM", "${TARGETPLATFORM}")
_ALWAYS_KNOWN = ("PATH", "HOME", "HOSTNAME", "TERM")


class Finding(NamedTuple):
    """One doubt: the rule's name, what it is about, and where."""

    rule: str
    message: str
    range: Range


def check(
    parsed: Parsed, arguments: GlobalArguments, is_ignored: "Predicate | None" = None
) -> list[Finding]:
    """Return what is doubtful, in the order of lines.

    `is_ignored` tells of a path in the context whether an ignore file leaves it out.
    """
    skipped, _ = settings(parsed)
    found: list[Finding] = []
    for rule in _RULES:
        found += rule(parsed)
    found += _stage_rules(parsed, arguments)
    if is_ignored is not None:
        found += _ignored_copies(parsed, is_ignored)
    if _is_experimental(parsed, "InvalidDefinitionDescription"):
        found += _descriptions(parsed)
    if "all" in skipped:
        return []
    kept = [one for one in found if one.rule.lower() not in skipped]
    return sorted(dict.fromkeys(kept), key=lambda one: (one.range.first, one.rule))


def settings(parsed: Parsed) -> tuple[frozenset[str], bool]:
    """Return the rules that `# check=` leaves out, lower-case, and whether findings are errors."""
    skipped: list[str] = []
    is_error = False
    for part in parsed.directives.get("check", "").split(";"):
        key, _, value = part.partition("=")
        if key.strip() == "skip":
            skipped += [name.strip().lower() for name in value.split(",")]
        elif key.strip() == "error":
            is_error = value.strip().lower() == "true"
    return frozenset(skipped), is_error


def _is_experimental(parsed: Parsed, rule: str) -> bool:
    """Tell whether `# check=experimental=` asks for a rule."""
    for part in parsed.directives.get("check", "").split(";"):
        key, _, value = part.partition("=")
        names = [name.strip().lower() for name in value.split(",")]
        if key.strip() == "experimental" and ("all" in names or rule.lower() in names):
            return True
    return False


def _descriptions(parsed: Parsed) -> "Iterator[Finding]":
    """What stands right above FROM or ARG describes it: `# NAME DESCRIPTION`."""
    for one in (*parsed.arguments, *(stage.source for stage in parsed.stages), *_all(parsed)):
        if isinstance(one, model.Arg):
            names = [name for name, _ in one.pairs]
        elif isinstance(one, model.From) and one.name:
            names = [one.name]
        else:
            continue
        above = one.range.first - 2
        line = parsed.file.lines[above].strip() if above >= len(parsed.directives) else ""
        words = line.lstrip("#").split()
        if line.startswith("#") and (not words or words[0] not in names):
            text = f"the comment above is not `# {names[0]} DESCRIPTION`; an empty line parts them"
            yield Finding("InvalidDefinitionDescription", text, one.range)


def _continuations(parsed: Parsed) -> "Iterator[Finding]":
    for logical in parsed.logicals:
        if logical.has_empty:
            yield Finding(
                "NoEmptyContinuation", "an empty line within an instruction", logical.range
            )


def _casing(parsed: Parsed) -> "Iterator[Finding]":
    words = [(one.text.split(None, 1)[0], one) for one in parsed.logicals]
    lower = sum(word.islower() for word, _ in words)
    upper = sum(word.isupper() for word, _ in words)
    wanted = str.lower if lower > upper else str.upper
    name = "lowercase" if lower > upper else "uppercase"
    for word, logical in words:
        if word != wanted(word):
            text = f"the instruction {word} should be {name} like the others"
            yield Finding("ConsistentInstructionCasing", text, logical.range)


def _from_lines(parsed: Parsed) -> "Iterator[Finding]":
    names: dict[str, Range] = {}
    for stage, logical in zip(parsed.stages, _from_logicals(parsed), strict=True):
        where = stage.source.range
        name = stage.source.name
        if name:
            if name != name.lower():
                yield Finding(
                    "StageNameCasing", f"the stage name {name} should be lowercase", where
                )
            if name.lower() in _RESERVED_NAMES:
                yield Finding("ReservedStageName", f"{name} is a reserved name", where)
            if name.lower() in names:
                text = f"the stage name {name} is given twice"
                yield Finding("DuplicateStageName", text, where)
            names[name.lower()] = where
            words = logical.split()
            as_word = next((word for word in words[2:] if word.upper() == "AS"), "")
            if as_word and as_word.isupper() != words[0].isupper():
                text = f"{words[0]} and {as_word} are written in different cases"
                yield Finding("FromAsCasing", text, where)
        platform = stage.source.platform
        if platform in _REFERENCE_TO_TARGET:
            text = f"--platform={platform} is what FROM does without it"
            yield Finding("RedundantTargetPlatform", text, where)
        elif platform and "$" not in platform:
            text = f"--platform={platform} is a constant: the image is for no other platform"
            yield Finding("FromPlatformFlagConstDisallowed", text, where)


def _from_logicals(parsed: Parsed) -> list[str]:
    firsts = {stage.source.range.first for stage in parsed.stages}
    return [one.text for one in parsed.logicals if one.range.first in firsts]


def _forms(parsed: Parsed) -> "Iterator[Finding]":
    texts = {one.range.first: one.text for one in parsed.logicals}
    for instruction in _all(parsed):
        match instruction:
            case model.Maintainer():
                text = "MAINTAINER is deprecated: use LABEL org.opencontainers.image.authors"
                yield Finding("MaintainerDeprecated", text, instruction.range)
            case model.Env() | model.Label() if _is_legacy(texts.get(instruction.range.first, "")):
                keyword = type(instruction).__name__.upper()
                text = f'"{keyword} name=value" instead of "{keyword} name value"'
                yield Finding("LegacyKeyValueFormat", text, instruction.range)
            case model.Cmd() | model.Entrypoint() if instruction.command.is_shell:
                keyword = type(instruction).__name__.upper()
                text = f"{keyword} in the JSON form gets signals of the system; a shell keeps them"
                yield Finding("JSONArgsRecommended", text, instruction.range)
            case model.Workdir() if not instruction.path.startswith(("/", "$")):
                yield from _relative_workdir(parsed, instruction)
            case model.Expose():
                yield from _expose(instruction)
            case _:
                continue


def _is_legacy(text: str) -> bool:
    words = text.split(None, 2)
    return len(words) > 1 and "=" not in words[1]


def _relative_workdir(parsed: Parsed, workdir: model.Workdir) -> "Iterator[Finding]":
    stage = next(one for one in parsed.stages if workdir in one.instructions)
    before = stage.instructions[: stage.instructions.index(workdir)]
    if not any(isinstance(one, model.Workdir) for one in before):
        text = f"WORKDIR {workdir.path} depends on that of the base image"
        yield Finding("WorkdirRelativePath", text, workdir.range)


def _expose(expose: model.Expose) -> "Iterator[Finding]":
    for port in expose.ports:
        number, _, protocol = port.partition("/")
        if ":" in number:
            text = f"EXPOSE {port}: an address or a port of the host has no meaning here"
            yield Finding("ExposeInvalidFormat", text, expose.range)
        if protocol and protocol != protocol.lower():
            text = f"EXPOSE {port}: the protocol should be lowercase"
            yield Finding("ExposeProtoCasing", text, expose.range)


def _secrets(parsed: Parsed) -> "Iterator[Finding]":
    for instruction in (*parsed.arguments, *_all(parsed)):
        if isinstance(instruction, model.Arg | model.Env):
            for name, _ in instruction.pairs:
                if _SECRET.search(name) and not _PUBLIC.search(name):
                    keyword = type(instruction).__name__.upper()
                    text = f'{keyword} "{name}": use RUN --mount=type=secret for confidential data'
                    yield Finding("SecretsUsedInArgOrEnv", text, instruction.range)


def _several(parsed: Parsed) -> "Iterator[Finding]":
    for stage in parsed.stages:
        for kind in (model.Cmd, model.Entrypoint, model.Healthcheck):
            found = [one for one in stage.instructions if isinstance(one, kind)]
            for one in found[:-1]:
                text = f"several {kind.__name__.upper()} in one stage: only the last counts"
                yield Finding("MultipleInstructionsDisallowed", text, one.range)


def _comments_in_copies(parsed: Parsed) -> "Iterator[Finding]":
    for instruction in _all(parsed):
        if isinstance(instruction, model.Copy | model.Add) and "#" in instruction.sources:
            text = "# does not begin a comment here: it is the name of a file"
            yield Finding("InvalidInlineComment", text, instruction.range)


def _all(parsed: Parsed) -> "list[model.Instruction]":
    return [one for stage in parsed.stages for one in stage.instructions]


def _stage_rules(parsed: Parsed, arguments: GlobalArguments) -> "Iterator[Finding]":
    for stage in parsed.stages:
        yield from _from_words(parsed, stage, arguments)
        scope = Scope(arguments, {}, parsed.escape)
        environment: dict[str, str] = {}
        # What the base image has set cannot be known; a stage of this file can.
        known = {*_ALWAYS_KNOWN, *_inherited(parsed, stage)}
        for instruction in stage.instructions:
            yield from _undefined(parsed, instruction, scope, environment, known)


def _from_words(parsed: Parsed, stage: Stage, arguments: GlobalArguments) -> "Iterator[Finding]":
    expander = arguments.expander(parsed.escape)
    try:
        base = expander.word(stage.source.base)
        expander.word(stage.source.platform)
    except RootlessError:
        return
    declared = {name for one in parsed.arguments for name, _ in one.pairs}
    for name in expander.unknown:
        if name not in declared:
            text = f"FROM uses ${name}, which no ARG before the first FROM declares"
            yield Finding("UndefinedArgInFrom", text, stage.source.range)
    if not base or base.endswith((":", "@")):
        text = f"FROM {stage.source.base} is no image with the defaults of its arguments"
        yield Finding("InvalidDefaultArgInFrom", text, stage.source.range)


def _inherited(parsed: Parsed, stage: Stage) -> set[str]:
    """Return the variables that parent stages set or declare."""
    found: set[str] = set()
    position = find_stage(parsed.stages, stage.source.base, stage.position)
    while position >= 0 and not stage.source.base.isdecimal():
        parent = parsed.stages[position]
        for one in parent.instructions:
            if isinstance(one, model.Env | model.Arg):
                found.update(name for name, _ in one.pairs)
        stage = parent
        position = find_stage(parsed.stages, parent.source.base, parent.position)
    return found


def _undefined(
    parsed: Parsed,
    instruction: model.Instruction,
    scope: Scope,
    environment: dict[str, str],
    known: set[str],
) -> "Iterator[Finding]":
    expander = scope.expander(environment)
    try:
        _expand_all(instruction, expander)
        if isinstance(instruction, model.Arg):
            scope.declare(instruction, environment)
            known.update(name for name, _ in instruction.pairs)
        if isinstance(instruction, model.Env):
            environment |= {name: expander.word(value) for name, value in instruction.pairs}
    except RootlessError:
        return
    for name in expander.unknown:
        if name not in known:
            text = f"${name} is not set by ARG or ENV before"
            yield Finding("UndefinedVar", text, instruction.range)


def _expand_all(instruction: model.Instruction, expander: Expander) -> None:
    from rootless.build.expansion import expand

    expand(instruction, expander)
    if isinstance(instruction, model.Arg):
        for _, default in instruction.pairs:
            expander.word(default or "")


def _ignored_copies(parsed: Parsed, is_ignored: "Predicate") -> "Iterator[Finding]":
    for instruction in _all(parsed):
        if not isinstance(instruction, model.Copy | model.Add):
            continue
        if isinstance(instruction, model.Copy) and instruction.origin:
            continue
        for source in instruction.sources:
            is_path = "://" not in source and "$" not in source and not source.startswith("<<")
            if is_path and is_ignored(source):
                text = f"{source} is left out of the context by the ignore file"
                yield Finding("CopyIgnoredFile", text, instruction.range)


_RULES: "tuple[Callable[[Parsed], Iterator[Finding]], ...]" = (
    _continuations,
    _casing,
    _from_lines,
    _forms,
    _secrets,
    _several,
    _comments_in_copies,
)
