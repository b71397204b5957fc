"""Real click commands from the table: help, usage errors with suggestions, completion.

Only loaded when the fast parser gives up, or by a shell's completion. Switches are options with a
value in click's eyes, because pflag takes `--rm=false` and click does not: `_canonical` rewrites
every option that it knows to `--name=value` before click reads it.
"""

import sys
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from rootless.cli import fast, table
from rootless.cli.absent import COMMANDS, why_no_option
from rootless.cli.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem
    from typing_extensions import override

    ParamType = click.ParamType[object, object]
else:
    # Older releases of click have no generic class at run time.
    ParamType = click.ParamType

    def override(method: object) -> object:
        """Stand in for typing.override, which Python 3.11 does not have."""
        return method


PROGRAM = "rpod"
USAGE_EXIT_CODE = 125


def explain(argv: "Sequence[str]") -> "int | Invocation":
    """Print the help or the usage error for `argv`; what click understands is returned."""
    app = make_app()
    words = [*argv[1:], "--help"] if argv and argv[0] == "help" else list(argv)
    try:
        result: object = app.main(words, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.UsageError as error:
        _print_usage_error(error)
        return USAGE_EXIT_CODE
    if isinstance(result, Invocation):
        return result
    return result if isinstance(result, int) else 0


def _print_usage_error(error: click.UsageError) -> None:
    from rootless.cli.reporting import print_error

    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        # Each release of click has its own words for this one.
        message = f"No such option '{error.option_name}'.{_hint(error.possibilities or ())}"
        command = error.ctx.command_path.partition(" ")[2] if error.ctx is not None else ""
        if reason := why_no_option(error.option_name, command):
            message = f"No option '{error.option_name}': {reason}."
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        sys.stderr.write(f"{message}\n")
        return
    path = error.ctx.command_path if error.ctx is not None else PROGRAM
    print_error(message)
    sys.stderr.write(f"See '{path} --help'\n")


def _hint(names: "Sequence[str]") -> str:
    return f" Did you mean {' or '.join(names)}?" if names else ""


def complete(instruction: str) -> int:
    """Answer a shell's completion function (click's protocol)."""
    from click.shell_completion import shell_complete

    return shell_complete(make_app(), {}, PROGRAM, "_RPOD_COMPLETE", instruction)


def script(shell: str) -> str | None:
    """Return the completion script for a shell; None when click does not know the shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        return None
    return found(make_app(), {}, PROGRAM, "_RPOD_COMPLETE").source()


def make_app() -> click.Group:
    """Return the root command; subcommands are made when they are looked up."""
    return _Noun(
        name=PROGRAM,
        prefix="",
        help="Run containers as a regular user, without a daemon.",
        params=[_TableOption(option) for option in table.GLOBALS],
        epilog="Run 'rpod COMMAND --help' for more about a command.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class _TableType(ParamType):
    """Reads a value as the fast parser does."""

    def __init__(self, option: table.Option) -> None:
        self.option = option
        self.name = option.metavar or "value"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if not isinstance(value, str):
            return value
        try:
            if self.option.kind in (table.LIST, table.COMMAS):
                return fast.split_value(self.option, value)
            return fast.convert(self.option, value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from rootless.cli.completion import offer

        return offer(ctx, self.option.objects, self.option.choices, incomplete)


class _WordType(ParamType):
    """A positional word."""

    name = "word"

    def __init__(self, argument: table.Argument) -> None:
        self.argument = argument

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        return value

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from rootless.cli.completion import offer, shells

        choices = shells() if self.argument.name == "shell" else ()
        return offer(ctx, self.argument.objects, choices, incomplete)


class _TableOption(click.Option):
    def __init__(self, option: table.Option, *, hidden: bool = False) -> None:
        declarations = [f"--{option.name}", *(f"--{alias}" for alias in option.aliases)]
        if option.short:
            declarations.insert(0, f"-{option.short}")
        repeatable = option.kind in (table.LIST, table.COMMAS)
        self.table_option = option
        super().__init__(
            [*declarations, option.field],
            type=_TableType(option),
            help=_help_text(option),
            multiple=repeatable,
            hidden=hidden,
            metavar=f"[{'|'.join(option.choices)}]" if option.choices else option.metavar,
        )
        self.is_switch = option.kind == table.BOOL
        # Completion asks this before it takes the next word for the option's value.
        self.is_flag = self.is_switch

    @override
    def add_to_parser(self, parser: object, ctx: click.Context) -> None:
        add = getattr(parser, "add_option")  # noqa: B009 - its class has no public name in click
        add(
            obj=self,
            opts=self.opts,
            dest=self.name,
            action="append",
            nargs=1,
        )

    @override
    def type_cast_value(self, ctx: click.Context, value: object) -> object:
        """Check every value of an option that is given twice, though the last one counts."""
        if self.multiple or not isinstance(value, list):
            return super().type_cast_value(ctx, value)
        return [super(_TableOption, self).type_cast_value(ctx, one) for one in value][-1]

    @override
    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        option = self.table_option
        if self.hidden:
            return None
        short = f"-{option.short}, " if option.short else "    "
        word = "" if self.is_switch else f" {self.metavar or option.metavar}"
        return f"{short}--{option.name}{word}", self.help or ""


def _help_text(option: table.Option) -> str:
    if option.default in (None, False, "", ()):
        return option.help
    if option.kind == table.SIZE and isinstance(option.default, int):
        return f"{option.help} (default {option.default >> 20}m)"
    default = "true" if option.default is True else str(option.default)
    return f"{option.help} (default {default})"


class _Verb(click.Command):
    """A command of the table; invoking it returns the Invocation."""

    def __init__(self, command: table.Command, name: str) -> None:
        self.table_command = command
        shorts = {option.short for option in command.options}
        super().__init__(
            name,
            params=[
                *(_TableOption(option) for option in command.options),
                *(_make_argument(argument) for argument in command.arguments),
                *(_TableOption(option, hidden=True) for option in table.PERSISTENT),
            ],
            help=f"{command.help}.\n\n{command.description}".strip(),
            short_help=command.help,
            epilog=_epilog(command),
            options_metavar="[OPTIONS]",
            context_settings={
                "allow_interspersed_args": command.interspersed,
                "help_option_names": ["--help"] if "h" in shorts else ["-h", "--help"],
            },
        )

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = _canonical(
            (*table.PERSISTENT, *self.table_command.options),
            args,
            interspersed=self.table_command.interspersed,
        )
        try:
            return super().parse_args(ctx, words)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    @override
    def invoke(self, ctx: click.Context) -> Invocation:
        values = _given(ctx)
        for argument in self.table_command.arguments:
            value = ctx.params[argument.name]
            if argument.most == table.UNLIMITED or value is not None:
                values[argument.name] = value
        settings: dict[str, object] = {}
        around = ctx.parent
        while around is not None:
            settings = {**_given(around), **settings}
            around = around.parent
        for option in table.PERSISTENT:
            if option.field in values:
                settings[option.field] = values.pop(option.field)
        return Invocation(self.table_command, values, settings)

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.table_command.examples:
            with formatter.section("Examples"):
                for example in self.table_command.examples:
                    formatter.write(f"  {example}\n")
        if self.table_command.aliases:
            formatter.write_paragraph()
            formatter.write_text(f"Also: rpod {', rpod '.join(self.table_command.aliases)}")


def _epilog(command: table.Command) -> str | None:
    return "\n".join(command.examples) or None


def _make_argument(argument: table.Argument) -> click.Argument:
    return click.Argument(
        [argument.name],
        type=_WordType(argument),
        required=argument.least > 0,
        nargs=-1 if argument.most != 1 else 1,
        metavar=argument.metavar or argument.name.upper(),
    )


def _given(ctx: click.Context) -> dict[str, object]:
    """Return the options of a context that were on the command line."""
    values: dict[str, object] = {}
    for parameter in ctx.command.params:
        if not isinstance(parameter, _TableOption) or parameter.name is None:
            continue
        if ctx.get_parameter_source(parameter.name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[parameter.name]
        if parameter.multiple:
            value = tuple(part for parts in value for part in parts)
        values[parameter.name] = value
    return values


class _Noun(click.Group):
    """The root command, or a noun like `image`."""

    def __init__(self, *, prefix: str, **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # click's own keywords
        self.prefix = prefix

    def _names(self) -> dict[str, str]:
        """Return each subcommand's name with its line of help, aliases left out."""
        names: dict[str, str] = {}
        canonical: set[tuple[str, str]] = set()
        for full, place in table.INDEX.items():
            noun, _, verb = full.rpartition(" ")
            if noun == self.prefix and place not in canonical:
                canonical.add(place)
                names[verb] = ""
        if not self.prefix:
            names.update(table.GROUPS)
        return names

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._names())

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if not self.prefix and cmd_name in table.GROUPS:
            return _Noun(
                name=cmd_name,
                prefix=cmd_name,
                help=f"{table.GROUPS[cmd_name]}.",
                short_help=table.GROUPS[cmd_name],
                params=[_TableOption(option) for option in table.group_options(cmd_name)],
            )
        command = table.find_command(f"{self.prefix} {cmd_name}".strip())
        return None if command is None else _Verb(command, cmd_name)

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = table.group_options(self.prefix) if self.prefix else table.GLOBALS
        words = _canonical(options, args, interspersed=False)
        return super().parse_args(ctx, words)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            from difflib import get_close_matches

            if reason := COMMANDS.get(f"{self.prefix} {name}".strip()):
                ctx.fail(f"No command '{name}': {reason}.")
            close = get_close_matches(name, self.list_commands(ctx))
            ctx.fail(f"No such command '{name}'.{_hint(close)}")
        return name, command, args[1:]


def _canonical(
    options: "Sequence[table.Option]", argv: "Sequence[str]", *, interspersed: bool
) -> list[str]:
    """Rewrite what pflag understands and click does not; leave unknown words for click to blame."""
    longs = {f"--{name}": option for option in options for name in (option.name, *option.aliases)}
    shorts = {option.short: option for option in options if option.short}
    result: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*result, word, *rest]
        if word in ("-", "") or word[0] != "-":
            if not interspersed:
                return [*result, word, *rest]
            result.append(word)
        elif word.startswith("--"):
            option = longs.get(word)
            result.append(word)
            if option is not None and option.kind == table.BOOL:
                result[-1] = f"{word}=true"
            elif option is not None and rest:
                result.append(rest.pop(0))
        else:
            result += _canonical_shorts(shorts, word[1:], rest)
    return result


def _canonical_shorts(shorts: dict[str, table.Option], letters: str, rest: list[str]) -> list[str]:
    result: list[str] = []
    while letters:
        option = shorts.get(letters[0])
        if option is None:
            return [*result, f"-{letters}"]
        name = f"--{option.name}"
        if len(letters) > 2 and letters[1] == "=":
            return [*result, f"{name}={letters[2:]}"]
        if option.kind == table.BOOL:
            result.append(f"{name}=true")
            letters = letters[1:]
        elif len(letters) > 1:
            return [*result, f"{name}={letters[1:]}"]
        else:
            return [*result, name, *([rest.pop(0)] if rest else [])]
    return result
