"""Volumes, in docker's words."""

from rootless.filters import matches_label, passes
from rootless.service.exchange import Exchange
from rootless.service.fields import Fields
from rootless.service.http import HttpError
from storage.errors import InUse, VolumeNotFound
from storage.volumes import (
    VolumeRecord,
    create_volume,
    list_volumes,
    mountpoint,
    read_volume,
    remove_volume,
    volume_users,
)

_FILTERS = ("dangling", "driver", "label", "label!", "name")
_PRUNE_FILTERS = ("all", "label", "label!", "until")


def _document(exchange: Exchange, record: VolumeRecord) -> dict[str, object]:
    return {
        "Name": record.name,
        "Driver": "local",
        "Mountpoint": mountpoint(exchange.host.layout, record),
        "CreatedAt": record.created_at,
        "Labels": record.labels,
        "Scope": "local",
        "Options": record.options or None,
    }


def list_(exchange: Exchange) -> None:
    pairs = exchange.filters()
    for key, _ in pairs:
        if key not in _FILTERS:
            raise HttpError(400, f"invalid filter '{key}'")
    users = volume_users(exchange.host.layout)
    found = [
        _document(exchange, record)
        for record in list_volumes(exchange.host.layout)
        if passes(pairs, lambda key, value, record=record: _test(record, key, value, users))  # type: ignore[misc]
    ]
    exchange.send({"Volumes": found, "Warnings": None})


def _test(record: VolumeRecord, key: str, value: str, users: dict[str, list[str]]) -> bool:
    match key:
        case "name":
            return value in record.name
        case "label":
            return matches_label(record.labels, value)
        case "label!":
            return not matches_label(record.labels, value)
        case "dangling":
            return (value in ("1", "true")) == (record.name not in users)
        case "until":
            from rootless.service.networks import is_older

            return is_older(record.created_at, value)
        case _:
            return value == "local"


def _of_path(exchange: Exchange) -> VolumeRecord:
    name = exchange.names["name"]
    try:
        return read_volume(exchange.host.layout, name)
    except VolumeNotFound as error:
        raise HttpError(404, f"get {name}: no such volume") from error


def inspect(exchange: Exchange) -> None:
    exchange.send(_document(exchange, _of_path(exchange)))


def create(exchange: Exchange) -> None:
    body = Fields(exchange.json())
    if body.text("Driver") not in ("", "local"):
        raise HttpError(501, f"there is no volume driver {body.text('Driver')!r:.80}, only local")
    record = create_volume(
        exchange.host.layout,
        body.text("Name"),
        labels=body.pairs("Labels"),
        options=body.pairs("DriverOpts"),
        exist_ok=True,
    )
    exchange.send(_document(exchange, record), 201)


def remove(exchange: Exchange) -> None:
    _remove(exchange, _of_path(exchange).name)
    exchange.done()


def _remove(exchange: Exchange, name: str) -> None:
    host = exchange.host
    try:
        remove_volume(host.layout, name)
    except PermissionError:
        from rootless.linux.userns import run_in_userns

        # Files of the container's other ids: root of the user namespace may remove them.
        run_in_userns(lambda _: remove_volume(host.layout, name), host.id_maps())


def prune(exchange: Exchange) -> None:
    """Remove anonymous volumes that nothing uses; with the filter all=true named ones, too."""
    layout, pairs = exchange.host.layout, exchange.filters()
    for key, _ in pairs:
        if key not in _PRUNE_FILTERS:
            raise HttpError(400, f"invalid filter '{key}'")
    takes_named = any(key == "all" and value in ("1", "true") for key, value in pairs)
    takes_named = takes_named or exchange.version < (1, 42)
    tests = [pair for pair in pairs if pair[0] != "all"]
    users = volume_users(layout)
    gone = []
    for record in list_volumes(layout):
        if record.name in users or not (takes_named or record.anonymous):
            continue
        if not passes(tests, lambda k, v, record=record: _test(record, k, v, users)):  # type: ignore[misc]
            continue
        try:
            _remove(exchange, record.name)
        except (InUse, VolumeNotFound):
            continue  # somebody else was faster
        gone.append(record.name)
    exchange.send({"VolumesDeleted": gone, "SpaceReclaimed": 0})
