"""Which container or image a path names."""

from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from storage.containers import ContainerView, find_container


def container_of(exchange: Exchange) -> ContainerView:
    """Return the container that the path names; /NAME is docker's way to write a name.

    Raises HttpError, Ambiguous.
    """
    return find(exchange, exchange.names["id"])


def find(exchange: Exchange, text: str) -> ContainerView:
    from storage.errors import ContainerNotFound

    name = text.removeprefix("/")
    if not name or "/" in name or name in (".", ".."):
        raise HttpError(404, f"No such container: {text}")
    try:
        return find_container(exchange.host.layout, name)
    except ContainerNotFound as error:
        raise HttpError(404, f"No such container: {text}") from error
