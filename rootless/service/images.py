"""Lists of images and what is known of one, in docker's words."""

from rootless.human import unix_time
from rootless.image_document import image_document
from rootless.image_filters import FILTERS, passes_filters, repo_digests
from rootless.service.exchange import Exchange
from rootless.service.http import HttpError
from storage.errors import ImageNotFound
from storage.images import ImageRecord, find_image, image_users, list_images


def list_(exchange: Exchange) -> None:
    layout = exchange.host.layout
    pairs = [(key, value) for key, value in exchange.filters()]
    for key, _ in pairs:
        if key not in FILTERS:
            raise HttpError(400, f"invalid filter '{key}'")
    if name := exchange.text("filter"):  # API before 1.41
        pairs.append(("reference", name))
    exchange.send(
        [
            {
                "Id": f"sha256:{record.image_id}",
                "ParentId": "",
                "RepoTags": list(record.names),
                "RepoDigests": repo_digests(record),
                "Created": unix_time(record.created),
                "Size": record.size_bytes,
                "VirtualSize": record.size_bytes,
                "SharedSize": -1,
                "Labels": record.labels or None,
                "Containers": len(image_users(layout, record)),
            }
            for record in list_images(layout)
            if passes_filters(layout, record, pairs)
        ]
    )


def image_of(exchange: Exchange) -> ImageRecord:
    """Return the image that the path names. Raises HttpError, Ambiguous, InvalidReference."""
    name = exchange.names["name"]
    try:
        return find_image(exchange.host.layout, name, all_names=True)
    except ImageNotFound as error:
        raise HttpError(404, f"No such image: {name}") from error


def inspect(exchange: Exchange) -> None:
    record = image_of(exchange)
    document = image_document(exchange.host.layout, record)
    config = document["Config"]
    assert isinstance(config, dict)
    zero: dict[str, object] = {
        "User": "", "ExposedPorts": None, "Env": None, "Entrypoint": None, "Cmd": None,
        "Volumes": None, "WorkingDir": "", "Labels": None, "OnBuild": None,
    }  # fmt: skip
    exchange.send(
        {
            **document,
            "Id": f"sha256:{record.image_id}",
            "Config": {**zero, **config},
            "DockerVersion": document["Version"],
            "Descriptor": {"mediaType": record.media_type, "digest": record.manifest_digest},
            "Metadata": {"LastTagTime": record.added_at},
        }
    )
