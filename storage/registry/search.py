"""Looking for repositories: what a registry lists, and Docker Hub's own search.

OCI distribution specification, `_catalog` (an extension that not every registry has); docker's
`v1/search`, which answers with descriptions and stars.
"""

import json
from urllib.parse import quote

from storage.errors import RegistryProtocolError
from storage.oci.checks import DOCUMENT_LIMIT_BYTES, as_object, get_list, get_text
from storage.record import NamedTuple
from storage.reference import DEFAULT_REGISTRY, Reference
from storage.registry.client import RegistryClient
from storage.registry.options import PullOptions
from storage.registry.transport import clean_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SEARCH_HOST = "index.docker.io"
_PAGE = 1000
_CATALOG_LIMIT = 100_000
_OK, _MISSING = 200, (401, 403, 404, 405)
DEFAULT_LIMIT = 25


class Found(NamedTuple):
    """A repository: `name` with its registry; the rest only where a registry tells it."""

    registry: str
    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False
    is_automated: bool = False


def search_registry(
    registry: str,
    term: str,
    *,
    limit: int,
    options: PullOptions,
    environment: "Mapping[str, str]",
) -> list[Found]:
    """Return the repositories of a registry whose names, or descriptions, have a term.

    Raises RegistryDenied, RegistryUnreachable, RegistryProtocolError.
    """
    host = _SEARCH_HOST if registry == DEFAULT_REGISTRY else registry
    client = RegistryClient(Reference(host, "", "latest", None), options, environment, actions="")
    found = _ask_search(client, registry, term, limit, options)
    if found is None:
        found = _ask_catalog(client, registry, term, limit, options)
    return found[:limit]


def _ask_search(
    client: RegistryClient, registry: str, term: str, limit: int, options: PullOptions
) -> list[Found] | None:
    """Ask docker's search; None where the registry has none."""
    doing = f"search {registry}"
    path = f"/v1/search?q={quote(term, safe='')}&n={limit}"
    with client.exchange("GET", path, doing) as answer:
        if answer.status in _MISSING:
            answer.release()
            return None
        client.check(answer, doing, _OK)
        data = answer.read_all(DOCUMENT_LIMIT_BYTES, options.document_timeout_s)
    raw = _parse(data, doing)
    return [_read_hit(hit, registry, doing) for hit in get_list(raw, "results", doing)]


def _read_hit(raw: object, registry: str, doing: str) -> Found:
    fields = as_object(raw, doing)
    name = clean_text(get_text(fields, "name", doing))
    official = fields.get("is_official") is True
    if registry == DEFAULT_REGISTRY and "/" not in name:
        name = f"library/{name}"
    stars = fields.get("star_count")
    return Found(
        registry,
        f"{registry}/{name}",
        clean_text(get_text(fields, "description", doing)),
        stars if isinstance(stars, int) else 0,
        official,
        fields.get("is_automated") is True,
    )


def _ask_catalog(
    client: RegistryClient, registry: str, term: str, limit: int, options: PullOptions
) -> list[Found]:
    doing = f"list the repositories of {registry}"
    found: list[Found] = []
    last = ""
    seen = 0
    while seen < _CATALOG_LIMIT:
        path = f"/v2/_catalog?n={_PAGE}" + (f"&last={quote(last, safe='')}" if last else "")
        with client.exchange("GET", path, doing, scope="registry:catalog:*") as answer:
            client.check(answer, doing, _OK)
            more = 'rel="next"' in answer.headers.get("Link", "")
            data = answer.read_all(DOCUMENT_LIMIT_BYTES, options.document_timeout_s)
        names = get_list(_parse(data, doing), "repositories", doing)
        if not all(isinstance(name, str) for name in names):
            raise RegistryProtocolError(f"{doing}: the answer has no list of repositories")
        seen += len(names)
        texts = [clean_text(str(name)) for name in names]
        found += [Found(registry, f"{registry}/{name}") for name in texts if term in name]
        if not more or not texts or texts[-1] == last or len(found) >= limit:
            break
        last = texts[-1]
    return found


def _parse(data: bytes, doing: str) -> dict[str, object]:
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RegistryProtocolError(f"{doing}: the answer is not JSON") from error
    if not isinstance(raw, dict):
        raise RegistryProtocolError(f"{doing}: the answer is not an object")
    return raw


def list_tags(
    reference: Reference, *, options: PullOptions, environment: "Mapping[str, str]"
) -> list[str]:
    """Return the tags of a repository, in the registry's order. Raises RegistryError."""
    return RegistryClient(reference, options, environment).list_tags()
