"""What registries have: repositories by a term, tags of a repository."""

from rootless.host.paths import Host
from rootless.images import PullSettings, default_key, options_for, pull_options
from rootless.registries import load_registries
from rootless.shortnames import load_short_names
from storage.errors import RegistryError
from storage.reference import DEFAULT_REGISTRY, is_registry_host, parse_reference
from storage.registry.registries import find_sources
from storage.registry.search import DEFAULT_LIMIT, Found, list_tags, search_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def search(
    host: Host,
    term: str,
    settings: PullSettings,
    *,
    limit: int = 0,
    on_failure: "Callable[[RegistryError], None] | None" = None,
) -> list[Found]:
    """Return repositories whose names have a term; HOST/TERM asks one registry only.

    Without HOST the registries that the configuration names are asked, else Docker Hub. One of
    several that fails is told to `on_failure`. Raises RegistryError, UsageError, InvalidDocument.
    """
    limit = limit or DEFAULT_LIMIT
    first, slash, rest = term.removeprefix("docker://").partition("/")
    if slash and is_registry_host(first):
        return _search_one(host, first, rest, limit, settings)
    registries = load_short_names(host.environ).search or (DEFAULT_REGISTRY,)
    found: list[Found] = []
    for registry in registries:
        try:
            found += _search_one(host, registry, term, limit, settings)
        except RegistryError as error:
            if len(registries) == 1 or on_failure is None:
                raise
            on_failure(error)
    return found


def _search_one(
    host: Host, registry: str, term: str, limit: int, settings: PullSettings
) -> list[Found]:
    # The tables of registries.conf go by names of images; any repository of the host will do.
    source = find_sources(
        load_registries(host.environ), parse_reference(f"{registry}/search/search")
    )[-1]
    options = options_for(source, pull_options(settings))
    return search_registry(registry, term, limit=limit, options=options, environment=host.environ)


def tags(host: Host, name: str, settings: PullSettings) -> tuple[str, list[str]]:
    """Return the full name of a repository and its tags, in the registry's order.

    Raises InvalidReference, PolicyRefused, RegistryError.
    """
    reference = parse_reference(name)
    source = find_sources(load_registries(host.environ), reference)[-1]
    options = options_for(source, pull_options(settings))
    found = list_tags(source.reference, options=options, environment=host.environ)
    return reference.name, found


def is_current(host: Host, name: str, settings: PullSettings) -> bool:
    """Ask the registry whether a pull would bring what the store has; nothing is fetched.

    Raises InvalidReference, RegistryError and its kinds.
    """
    from storage.platform import host_platform
    from storage.registry.unchanged import find_unchanged

    reference = parse_reference(name)
    source = find_sources(load_registries(host.environ), reference)[0]
    found = find_unchanged(
        host.layout,
        reference,
        map_key=default_key(host),
        platform=host_platform(),
        options=options_for(source, pull_options(settings)),
        environment=host.environ,
    )
    return found is not None
