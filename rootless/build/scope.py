"""Which variables an instruction sees: ARG with its scopes, ENV over it, platforms, proxies.

Dockerfile reference, ARG: those before the first FROM serve FROM lines, and give their value to a
stage that declares the name again. A stage inherits what its parent stage has declared.
"""

from rootless.build import model
from rootless.build.expand import Expander
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Given with --build-arg they reach RUN without ARG, and change neither history nor cache.
PROXIES = tuple(
    spelled
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for spelled in (name, name.lower())
)
_BUILDER_ONLY = ("BUILDKIT_", "SOURCE_DATE_EPOCH")


class Platforms(NamedTuple):
    """What is built for, and what builds, as OS/ARCHITECTURE[/VARIANT]."""

    target: str
    build: str

    def arguments(self, stage: str) -> dict[str, str]:
        """Return the automatic arguments. `stage` is the name of what is built."""
        found = {"TARGETSTAGE": stage or "default"}
        for prefix, text in (("TARGET", self.target), ("BUILD", self.build)):
            os, architecture, variant, *_ = (*text.split("/"), "", "")
            found |= {
                f"{prefix}PLATFORM": text,
                f"{prefix}OS": os,
                f"{prefix}ARCH": architecture,
                f"{prefix}VARIANT": variant,
            }
        return found


class GlobalArguments:
    """The arguments before the first FROM, and those of the command line."""

    def __init__(self, given: "Mapping[str, str]", automatic: "Mapping[str, str]") -> None:
        self.given = dict(given)
        self.automatic = dict(automatic)
        self.values: dict[str, str] = {}
        self.used: set[str] = set()

    def declare(self, arguments: "Iterable[model.Arg]", escape: str) -> None:
        """Evaluate the ARGs before the first FROM, in order. Raises UsageError."""
        for argument in arguments:
            for name, default in argument.pairs:
                self.used.add(name)
                if name in self.given:
                    self.values[name] = self.given[name]
                elif default is not None:
                    self.values[name] = self.expander(escape).word(default)

    def expander(self, escape: str) -> Expander:
        """Return what expands the words of FROM."""
        return Expander({**self.automatic, **self.values}, escape)

    def value(self, name: str) -> str | None:
        """Return what a stage gets for `ARG name`."""
        self.used.add(name)
        for values in (self.given, self.values, self.automatic):
            if name in values:
                return values[name]
        return None

    def unused(self, declared: "Iterable[str]") -> list[str]:
        """Return the arguments of the command line that no ARG has asked for."""
        known = {*self.used, *declared, *PROXIES}
        return [
            name for name in self.given if name not in known and not name.startswith(_BUILDER_ONLY)
        ]


class Scope:
    """The arguments that are in sight in one stage; None for one without a value."""

    def __init__(
        self, arguments: GlobalArguments, inherited: "Mapping[str, str | None]", escape: str
    ) -> None:
        self._global = arguments
        self._escape = escape
        self.arguments: dict[str, str | None] = dict(inherited)
        self.declared: list[str] = list(inherited)

    def declare(self, argument: model.Arg, environment: "Mapping[str, str]") -> None:
        """Execute an ARG. Raises UsageError."""
        for name, default in argument.pairs:
            if name not in self.declared:
                self.declared.append(name)
            given = self._global.given.get(name)
            if given is not None:
                self.arguments[name] = given
            elif default is not None:
                self.arguments[name] = self.expander(environment).word(default)
            else:
                value = self._global.value(name)
                self.arguments[name] = value if value is not None else self.arguments.get(name)

    def expander(self, environment: "Mapping[str, str]") -> Expander:
        """Return what expands words here: ENV goes before ARG."""
        return Expander({**self.values(), **environment}, self._escape)

    def values(self) -> dict[str, str]:
        """Return the arguments that have a value."""
        return {name: value for name, value in self.arguments.items() if value is not None}

    def of_command_line(self) -> dict[str, str]:
        """Return the proxy settings that were given and are not declared."""
        given = self._global.given
        return {
            name: given[name] for name in PROXIES if name in given and name not in self.declared
        }
