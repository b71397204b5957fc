"""Names without a registry: what they stand for here, and who decides when several are possible."""

import os

from rootless.config import load_toml
from rootless.errors import UsageError
from rootless.registries import configuration_files
from storage.errors import from_os_error
from storage.files import write_file
from storage.reference import Reference, parse_reference
from storage.registry.shortnames import ShortNames, read_short_names, resolve_short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Choose = Callable[[str, list[str]], int]

_SYSTEM_DIRECTORY = "/etc/containers"


def load_short_names(
    environ: "Mapping[str, str]", *, system: str = _SYSTEM_DIRECTORY
) -> ShortNames:
    """Return what the files say of short names. Raises UsageError, InvalidDocument."""
    paths = list(configuration_files(environ, system))
    # What podman remembers of earlier choices goes before everything else.
    remembered = _remembered_path(environ)
    if remembered and os.path.exists(remembered):
        paths.append(remembered)
    return read_short_names([(path, load_toml(path)) for path in paths])


def resolve(
    name: str, environ: "Mapping[str, str]", choose: "Choose | None" = None
) -> tuple[tuple[Reference, ...], str]:
    """Return the full names to try for a short one, and one line that says why.

    `choose` asks a person for one of several. Raises UsageError where one has to be asked and
    cannot be, InvalidReference, InvalidDocument.
    """
    found = resolve_short_name(name, load_short_names(environ))
    if not found.must_choose:
        return found.candidates, found.why
    texts = [str(candidate) for candidate in found.candidates]
    if choose is None:
        raise UsageError(
            f"short-name resolution enforced but cannot prompt without a TTY: {name!r} may be"
            f" {', '.join(texts)}",
            remedy="write the full name",
        )
    return (found.candidates[choose(name, texts)],), ""


def remember(name: str, full_name: str, environ: "Mapping[str, str]") -> None:
    """Write down what a person chose, where podman looks for it as well.

    Raises StoreUnusable, UsageError, InvalidReference.
    """
    path = _remembered_path(environ)
    if not path:
        return
    known = read_short_names([(path, load_toml(path))] if os.path.exists(path) else ())
    aliases = {alias: value for alias, (value, _) in known.aliases.items()}
    chosen = parse_reference(full_name)
    aliases[parse_reference(name, default_registry="localhost").repository] = chosen.name
    # Names and references have no character that TOML would have to escape.
    lines = [f'  "{alias}" = "{value}"\n' for alias, value in sorted(aliases.items())]
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, ("[aliases]\n" + "".join(lines)).encode())
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def _remembered_path(environ: "Mapping[str, str]") -> str:
    home = environ.get("HOME", "")
    cache = environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    return f"{cache}/containers/short-name-aliases.conf" if cache else ""
