"""Which containers a command means, and how it goes on after a failure."""

from rootless.errors import ContainerStateError, RootlessError, UsageError
from storage.errors import ContainerNotFound, InUse, NotFound, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.containers import ContainerView

RUNNING = ("running", "paused", "stopping")


def chosen_containers(
    invocation: "Invocation", host: "Host", *, is_wanted: "Callable[[ContainerView], bool]"
) -> list[str]:
    """Return the names that were typed, or the ids that --all, --latest ... stand for.

    `is_wanted` says which ones --all means. Raises UsageError, ContainerNotFound.
    """
    names = list(invocation.texts("containers"))
    wants_all, wants_latest = _asked(invocation, "all"), _asked(invocation, "latest")
    filters = _texts(invocation, "filter")
    if names and (wants_all or wants_latest):
        switch = "--all" if wants_all else "--latest"
        raise UsageError(f"{switch} and names of containers do not go together")
    if wants_all and wants_latest:
        raise UsageError("--all and --latest do not go together")
    if wants_latest:
        return [latest(host)]
    for path in _texts(invocation, "cidfile"):
        identity = _read_cidfile(path)
        if identity or not _asked(invocation, "ignore"):
            names.append(identity or path)
    if wants_all or filters:
        return _select(host, names, filters, is_wanted)
    if not names and not _texts(invocation, "cidfile"):
        raise UsageError("you must provide at least one name or id")
    return names


def _select(
    host: "Host", names: list[str], filters: tuple[str, ...],
    is_wanted: "Callable[[ContainerView], bool]",
) -> list[str]:  # fmt: skip
    from rootless.container.query import filter_views, find_view, list_views

    if names:
        views = [find_view(host, name) for name in names]
    else:
        views = [view for view in list_views(host, all_states=True) if is_wanted(view)]
    if filters:
        views = filter_views(views, filters)
    return [view.record.id for view in views]


def _asked(invocation: "Invocation", name: str) -> bool:
    return bool(invocation.given.get(name))


def _texts(invocation: "Invocation", name: str) -> tuple[str, ...]:
    return invocation.texts(name) if name in invocation.given else ()


def latest(host: "Host") -> str:
    """Return the id of the container that was made last. Raises ContainerNotFound."""
    from rootless.container.query import list_views

    views = list_views(host, all_states=True)
    if not views:
        raise ContainerNotFound("no containers to take the latest from")
    return views[0].record.id


def one_container(invocation: "Invocation", name: str, host: "Host") -> str:
    """Return the one container that a command takes. Raises UsageError."""
    typed = invocation.text(name)
    if invocation.flag("latest"):
        if typed:
            raise UsageError("--latest and a container's name do not go together")
        return latest(host)
    if not typed:
        raise UsageError("you must provide a container's name or id, or --latest")
    return typed


def _read_cidfile(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"read the id file {path}: {error.strerror}") from error


def for_each(names: "Sequence[str]", action: "Callable[[str], None]") -> list[Exception]:
    """Do the action for every name, report what fails, and return the errors."""
    from rootless.cli.reporting import report

    errors: list[Exception] = []
    for name in names:
        try:
            action(name)
        except (RootlessError, StorageError, OSError) as error:
            report(error)
            errors.append(error)
    return errors


def exit_code(errors: "Sequence[Exception]") -> int:
    """Return 125 when anything failed."""
    return 125 if errors else 0


def removal_exit_code(errors: "Sequence[Exception]") -> int:
    """Return what rm-like commands end with: 1 only missing ones, 2 something in use, else 125."""
    if not errors:
        return 0
    if all(isinstance(error, NotFound) for error in errors):
        return 1
    known = (NotFound, InUse, ContainerStateError)
    return 2 if all(isinstance(error, known) for error in errors) else 125
