"""`--change` of commit and import: instructions that edit an image's configuration."""

from rootless.build import model
from rootless.build.errors import BuildError
from rootless.build.expand import Expander
from rootless.build.expansion import expand
from rootless.build.image_config import Config, edit, environment
from rootless.build.parser import parse_fragment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ALLOWED = (
    model.Cmd, model.Entrypoint, model.Env, model.Expose, model.Healthcheck, model.Label,
    model.Onbuild, model.Shell, model.StopSignal, model.User, model.Volume, model.Workdir,
)  # fmt: skip
_ESCAPE = "\\"


def parse_changes(changes: "Iterable[str]") -> "Callable[[Config], Config]":
    """Return what applies the instructions, in order, to a configuration. Raises BuildError.

    The function that is returned raises UsageError for a value that cannot be.
    """
    instructions: list[model.Instruction] = []
    for change in changes:
        text = change.strip()
        if "=" in text.partition(" ")[0]:
            # podman also takes CMD=/bin/sh
            text = text.replace("=", " ", 1)
        found = parse_fragment(text, _ESCAPE, f"--change {change[:100]!r}")
        for instruction in found:
            if not isinstance(instruction, _ALLOWED):
                names = ", ".join(sorted(one.__name__.upper() for one in _ALLOWED))
                raise BuildError(
                    f"--change {change[:100]!r}: {type(instruction).__name__.upper()} cannot be"
                    " applied",
                    remedy=f"use {names}",
                )
        instructions += found

    def apply(config: Config) -> Config:
        result = dict(config)
        for instruction in instructions:
            edit(result, expand(instruction, Expander(environment(result), _ESCAPE)))
        return result

    return apply
