"""From logical lines to typed instructions: keywords, flags, words, the exec form.

Words stay as written: variables are expanded when the instruction is executed, for only then are
they known. Errors name file, line and column, and what may have been meant.
"""

import difflib
import json
import re

from rootless.build import model
from rootless.build.errors import BuildError
from rootless.build.lines import Containerfile, Lines, Logical, read_lines, shell_words
from rootless.build.model import CommandLine, Flag, From, Instruction, Mount, Range, Stage
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|[0-9a-fA-F]{7,64}")
_KEYWORD = re.compile(r"\S+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*\Z")
MOUNT_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_SPLIT_MOUNT = re.compile(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*\Z)")


class Parsed(NamedTuple):
    """A whole Containerfile. `arguments` are the ARGs before the first FROM."""

    file: Containerfile
    directives: dict[str, str]
    escape: str
    arguments: tuple[model.Arg, ...]
    stages: tuple[Stage, ...]
    logicals: tuple[Logical, ...]


def parse(data: bytes, name: str = "Containerfile") -> Parsed:
    """Read a Containerfile. Raises BuildError."""
    lines = read_lines(data, name)
    if not lines.instructions:
        raise BuildError(
            f"{name}: there is no instruction in it", remedy="it begins with FROM IMAGE"
        )
    arguments: list[model.Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for logical in lines.instructions:
        found = parse_instruction(lines, logical)
        if isinstance(found, From):
            stages.append((found, []))
        elif stages:
            stages[-1][1].append(found)
        elif isinstance(found, model.Arg):
            arguments.append(found)
        else:
            raise lines.file.fail(
                f"{type(found).__name__.upper()} stands before the first FROM",
                *logical.at(0), width=len(type(found).__name__),
                remedy="only ARG may stand before FROM",
            )  # fmt: skip
    if not stages:
        raise BuildError(
            f"{name}: there is no FROM in it", remedy="add FROM IMAGE, or FROM scratch"
        )
    made = tuple(Stage(n, source, tuple(rest)) for n, (source, rest) in enumerate(stages))
    return Parsed(
        lines.file, lines.directives, lines.escape, tuple(arguments), made, lines.instructions
    )


def parse_fragment(text: str, escape: str, where: str) -> list[Instruction]:
    """Read instructions that stand elsewhere: ONBUILD of a base image, `--change`.

    Raises BuildError.
    """
    lines = read_lines(text.encode(errors="surrogatepass"), where)._replace(escape=escape)
    found = []
    for logical in lines.instructions:
        instruction = parse_instruction(lines, logical)
        if isinstance(instruction, From):
            raise lines.file.fail("FROM is not possible here", *logical.at(0), width=4)
        found.append(instruction)
    return found


def parse_instruction(lines: Lines, logical: Logical) -> From | Instruction:
    """Read one instruction. Raises BuildError."""
    keyword = _KEYWORD.match(logical.text)
    assert keyword is not None
    name = keyword[0].upper()
    reader = _READERS.get(name)
    if reader is None:
        raise lines.file.fail(
            f"unknown instruction {keyword[0][:40]}", *logical.at(0), width=len(keyword[0]),
            remedy=_suggestion(name, _READERS),
        )  # fmt: skip
    statement = Statement(lines, logical, name, keyword.end())
    made = reader(statement)
    statement.finish()
    return made


def _suggestion(word: str, known: "Iterable[str]") -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, 1, 0.6)
    return f"did you mean {close[0]}?" if close else "known: " + ", ".join(known)


class Statement:
    """One instruction while it is read: its flags, and the rest of its text."""

    def __init__(self, lines: Lines, logical: Logical, keyword: str, begin: int) -> None:
        self.lines = lines
        self.logical = logical
        self.keyword = keyword
        self.flags: list[Flag] = []
        self._taken: list[str] = []
        self._begin = self._read_flags(begin)
        self.rest = logical.text[self._begin :].strip()

    @property
    def range(self) -> Range:
        return self.logical.range

    def fail(self, message: str, *, remedy: str = "", word: str = "") -> BuildError:
        """Return the error, with the caret below `word` where it is found, else the keyword."""
        offset = self.logical.text.find(word, len(self.keyword)) if word else 0
        width = len(word) if word else len(self.keyword)
        return self.lines.file.fail(
            message, *self.logical.at(max(offset, 0)), width=width, remedy=remedy
        )

    def fail_flag(self, flag: Flag, message: str, *, remedy: str = "") -> BuildError:
        """Return the error with the caret below a flag."""
        width = len(flag.name) + 2 + (len(flag.value) + 1 if flag.value is not None else 0)
        return self.lines.file.fail(message, flag.line, flag.column, width=width, remedy=remedy)

    def _read_flags(self, position: int) -> int:
        text = self.logical.text
        while True:
            while position < len(text) and text[position].isspace():
                position += 1
            if not text.startswith("--", position) or self.keyword == "ONBUILD":
                return position
            words = shell_words(text[position:], self.lines.escape)
            if words[0] == "--":
                return position + 2
            name, equals, value = words[0][2:].partition("=")
            line, column = self.logical.at(position)
            self.flags.append(Flag(name, _plain(value) if equals else None, line, column))
            position += len(words[0])

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a flag that may be repeated."""
        return tuple(self._value(flag) for flag in self._take(name))

    def text(self, name: str) -> str:
        """Take a flag that may be given once."""
        flags = self._take(name)
        if len(flags) > 1:
            raise self.fail_flag(flags[1], f"the flag --{name} is given twice")
        return self._value(flags[0]) if flags else ""

    def switch(self, name: str) -> bool | None:
        """Take a flag that is true or false; None when it is not given."""
        flags = self._take(name)
        if not flags:
            return None
        value = flags[-1].value
        if value is None or value in ("true", "1"):
            return True
        if value in ("false", "0"):
            return False
        raise self.fail_flag(flags[-1], f"--{name} is true or false, not {value[:40]}")

    def repeated(self, name: str) -> list[Flag]:
        return self._take(name)

    def _take(self, name: str) -> list[Flag]:
        self._taken.append(name)
        return [flag for flag in self.flags if flag.name == name]

    def _value(self, flag: Flag) -> str:
        if not flag.value:
            raise self.fail_flag(flag, f"--{flag.name} needs a value: --{flag.name}=VALUE")
        return flag.value

    def finish(self) -> None:
        """Refuse flags that nobody has taken."""
        for flag in self.flags:
            if flag.name not in self._taken:
                known = tuple(f"--{name}" for name in self._taken)
                raise self.fail_flag(
                    flag,
                    f"{self.keyword} has no flag --{flag.name[:40]}",
                    remedy=_suggestion(f"--{flag.name}", known) if known else "it has none",
                )

    def need(self) -> str:
        """Return the rest of the text. Raises BuildError when there is none."""
        if not self.rest:
            raise self.fail(f"{self.keyword} needs at least one argument")
        return self.rest

    def json_words(self) -> tuple[str, ...] | None:
        """Return the words of a JSON array of texts; None when the rest is none."""
        if not self.rest.startswith("["):
            return None
        try:
            words = json.loads(self.rest)
        except (ValueError, RecursionError):
            return None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return None
        return tuple(words)

    def list_words(self) -> tuple[str, ...]:
        """Return the words of the JSON form, or those between blanks."""
        words = self.json_words()
        return words if words is not None else tuple(self.need().split())

    def command(self) -> CommandLine:
        """Return the exec form or the shell form."""
        words = self.json_words()
        if words is not None:
            return CommandLine(words, is_shell=False)
        return CommandLine((self.rest,), is_shell=True)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Read NAME=VALUE ..., or the old form NAME VALUE; words as written."""
        words = shell_words(self.need(), self.lines.escape)
        if "=" not in words[0]:
            parts = self.rest.split(None, 1)
            if len(parts) < 2:
                raise self.fail(
                    f"{self.keyword} {parts[0][:60]} has no value",
                    remedy=f"write {self.keyword} {parts[0][:60]}=VALUE", word=parts[0],
                )  # fmt: skip
            return ((parts[0], parts[1]),)
        found = []
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                raise self.fail(
                    f"{word[:60]} is not NAME=VALUE",
                    remedy="put a value with blanks in quotes", word=word,
                )  # fmt: skip
            if not name:
                raise self.fail(f"{word[:60]} has no name before =", word=word)
            found.append((name, value))
        return tuple(found)


def _plain(value: str) -> str:
    """Take the quotes from a flag's value when they enclose all of it."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _from(statement: Statement) -> From:
    platform = statement.text("platform")
    words = statement.need().split()
    if len(words) == 1:
        return From(statement.range, words[0], "", platform)
    if len(words) != 3 or words[1].upper() != "AS":
        raise statement.fail(
            "FROM takes one image, and a name: FROM IMAGE [AS NAME]", word=words[1]
        )
    name = words[2].lower()
    if not _STAGE_NAME.match(name):
        raise statement.fail(
            f"{words[2][:60]} is no name for a stage",
            remedy="a name begins with a letter and has letters, digits, - _ .", word=words[2],
        )  # fmt: skip
    return From(statement.range, words[0], words[2], platform)


def _arg(statement: Statement) -> model.Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in shell_words(statement.need(), statement.lines.escape):
        name, equals, value = word.partition("=")
        if not _NAME.match(name):
            raise statement.fail(f"{name[:60]!r} is no name for an argument", word=word)
        pairs.append((name, value if equals else None))
    return model.Arg(statement.range, tuple(pairs))


def _env(statement: Statement) -> model.Env:
    return model.Env(statement.range, statement.pairs())


def _label(statement: Statement) -> model.Label:
    return model.Label(statement.range, statement.pairs())


def _run(statement: Statement) -> model.Run:
    mounts = tuple(_mount(statement, flag) for flag in statement.repeated("mount"))
    network = statement.text("network")
    security = statement.text("security")
    devices = statement.texts("device")
    if network not in ("", "default", "none", "host"):
        raise statement.fail(
            f"--network is default, none or host, not {network[:40]}", word=network
        )
    if security not in ("", "sandbox", "insecure"):
        raise statement.fail(f"--security is sandbox or insecure, not {security[:40]}")
    statement.need()
    return model.Run(
        statement.range, statement.command(), statement.logical.heredocs, mounts, network,
        security, devices,
    )  # fmt: skip


def _mount(statement: Statement, flag: Flag) -> Mount:
    if not flag.value:
        raise statement.fail_flag(flag, "--mount needs a value: --mount=type=TYPE,target=PATH")
    fields: list[tuple[str, str]] = []
    kind = "bind"
    for part in _SPLIT_MOUNT.split(flag.value):
        name, equals, value = part.strip().strip('"').partition("=")
        name = name.lower()
        if name == "type":
            kind = value
            continue
        fields.append((name, value if equals else "true"))
    if kind not in MOUNT_KINDS:
        raise statement.fail_flag(
            flag, f"unknown type of mount {kind[:40]!r}", remedy=_suggestion(kind, MOUNT_KINDS)
        )
    from rootless.build.mount_fields import FIELDS

    for name, _ in fields:
        if name not in FIELDS[kind]:
            raise statement.fail_flag(
                flag,
                f"a mount of type {kind} has no field {name[:40]!r}",
                remedy=_suggestion(name, FIELDS[kind]),
            )
    return Mount(kind, tuple(fields), flag)


def _sources(statement: Statement) -> tuple[tuple[str, ...], str]:
    words = statement.list_words()
    if len(words) < 2:
        raise statement.fail(
            f"{statement.keyword} needs at least one source and the destination", word=words[0]
        )
    return words[:-1], words[-1]


def _copy(statement: Statement) -> model.Copy:
    sources, target = _sources(statement)
    return model.Copy(
        statement.range, sources, target,
        origin=statement.text("from"),
        chown=statement.text("chown"),
        chmod=statement.text("chmod"),
        link=bool(statement.switch("link")),
        parents=bool(statement.switch("parents")),
        exclude=statement.texts("exclude"),
        heredocs=statement.logical.heredocs,
    )  # fmt: skip


def _add(statement: Statement) -> model.Add:
    sources, target = _sources(statement)
    checksum = statement.text("checksum")
    if checksum and "$" not in checksum and not _CHECKSUM.fullmatch(checksum):
        raise statement.fail(
            f"ADD --checksum={checksum[:80]}: it is not a digest", word=f"--checksum={checksum}",
            remedy="give sha256: and 64 hexadecimal digits, or the commit of a repository",
        )  # fmt: skip
    return model.Add(
        statement.range, sources, target,
        chown=statement.text("chown"),
        chmod=statement.text("chmod"),
        link=bool(statement.switch("link")),
        exclude=statement.texts("exclude"),
        heredocs=statement.logical.heredocs,
        checksum=checksum,
        keep_git_dir=bool(statement.switch("keep-git-dir")),
        unpack=statement.switch("unpack"),
    )  # fmt: skip


def _single(statement: Statement) -> str:
    return statement.need()


def _workdir(statement: Statement) -> model.Workdir:
    return model.Workdir(statement.range, _single(statement))


def _user(statement: Statement) -> model.User:
    return model.User(statement.range, _single(statement))


def _expose(statement: Statement) -> model.Expose:
    return model.Expose(statement.range, tuple(statement.need().split()))


def _volume(statement: Statement) -> model.Volume:
    words = statement.list_words()
    if not words or not all(words):
        raise statement.fail("VOLUME needs paths that are not empty")
    return model.Volume(statement.range, words)


def _stopsignal(statement: Statement) -> model.StopSignal:
    words = statement.need().split()
    if len(words) != 1:
        raise statement.fail("STOPSIGNAL takes one signal", word=words[1])
    return model.StopSignal(statement.range, words[0])


def _shell(statement: Statement) -> model.Shell:
    statement.need()
    words = statement.json_words()
    if not words:
        raise statement.fail(
            "SHELL needs the JSON form", remedy='write SHELL ["/bin/bash", "-c"]',
            word=statement.rest,
        )  # fmt: skip
    return model.Shell(statement.range, words)


def _cmd(statement: Statement) -> model.Cmd:
    statement.need()
    return model.Cmd(statement.range, statement.command())


def _entrypoint(statement: Statement) -> model.Entrypoint:
    statement.need()
    return model.Entrypoint(statement.range, statement.command())


def _healthcheck(statement: Statement) -> model.Healthcheck:
    times = {
        name.replace("-", "_"): statement.text(name)
        for name in ("interval", "timeout", "start-period", "start-interval", "retries")
    }
    kind, _, rest = statement.need().partition(" ")
    statement.rest = rest.strip()
    if kind.upper() == "NONE":
        if rest.strip():
            raise statement.fail("HEALTHCHECK NONE takes no arguments", word=rest.strip())
        return model.Healthcheck(statement.range, None)
    if kind.upper() != "CMD":
        raise statement.fail(
            f"HEALTHCHECK is CMD or NONE, not {kind[:40]}", word=kind,
            remedy="write HEALTHCHECK CMD COMMAND",
        )  # fmt: skip
    if not statement.rest:
        raise statement.fail("HEALTHCHECK CMD needs a command", word=kind)
    return model.Healthcheck(statement.range, statement.command(), **times)


def _onbuild(statement: Statement) -> model.Onbuild:
    text = statement.need()
    keyword = text.split(None, 1)[0].upper()
    if keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise statement.fail(f"ONBUILD {keyword} is not possible", word=text.split(None, 1)[0])
    if keyword not in _READERS:
        raise statement.fail(
            f"unknown instruction {keyword[:40]}", remedy=_suggestion(keyword, _READERS),
            word=text.split(None, 1)[0],
        )  # fmt: skip
    documents = "".join(
        f"\n{document.content}{document.name}" for document in statement.logical.heredocs
    )
    if documents:
        text = text.replace("<<-", "<<") + documents
    return model.Onbuild(statement.range, text)


def _maintainer(statement: Statement) -> model.Maintainer:
    return model.Maintainer(statement.range, statement.need())


_READERS: "dict[str, Callable[[Statement], From | Instruction]]" = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": _env,
    "LABEL": _label,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _add,
    "WORKDIR": _workdir,
    "USER": _user,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "STOPSIGNAL": _stopsignal,
    "SHELL": _shell,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
    "MAINTAINER": _maintainer,
}
