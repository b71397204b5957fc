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
    config = {**zero, **config}
    exchange.send(
        {
            **document,
            "Id": f"sha256:{record.image_id}",
            "Config": config,
            # docker-compose 1 reads it, of any version, when it makes a container anew.
            "ContainerConfig": config,
            "DockerVersion": document["Version"],
            "Descriptor": {"mediaType": record.media_type, "digest": record.manifest_digest},
            "Metadata": {"LastTagTime": record.added_at},
        }
    )


def history(exchange: Exchange) -> None:
    from rootless.images import config_of, layer_sizes

    record = image_of(exchange)
    sizes = iter(layer_sizes(exchange.host, record))
    steps: list[dict[str, object]] = [
        {
            "Id": "<missing>",
            "Created": unix_time(str(entry.get("created") or "")),
            "CreatedBy": str(entry.get("created_by") or ""),
            "Tags": None,
            "Size": 0 if entry.get("empty_layer") is True else next(sizes, 0),
            "Comment": str(entry.get("comment") or ""),
        }
        for entry in config_of(exchange.host, record).history
    ]
    if steps:
        steps[-1] |= {"Id": f"sha256:{record.image_id}", "Tags": list(record.names) or None}
    exchange.send(list(reversed(steps)))


def tag(exchange: Exchange) -> None:
    from rootless import naming
    from rootless.service.registry import with_tag

    image_of(exchange)
    target = with_tag(exchange.text("repo"), exchange.text("tag"))
    if not target:
        raise HttpError(400, "repo is missing")
    naming.tag(exchange.host, exchange.names["name"], [target])
    exchange.done(201)


def remove(exchange: Exchange) -> None:
    from rootless import images, naming

    image_of(exchange)
    done = naming.remove(exchange.host, exchange.names["name"], force=exchange.flag("force"))
    images.collect(exchange.host)
    exchange.send(_gone(done.untagged, done.deleted))


def _gone(untagged: tuple[str, ...], deleted: tuple[str, ...]) -> list[dict[str, str]]:
    gone = [{"Untagged": name} for name in untagged]
    return gone + [{"Deleted": f"sha256:{one}"} for one in deleted]


def prune(exchange: Exchange) -> None:
    from rootless import images, naming
    from storage.errors import InUse

    host, pairs = exchange.host, exchange.filters()
    for key, _ in pairs:
        if key not in ("dangling", "until", "label", "label!"):
            raise HttpError(400, f"invalid filter '{key}'")
    takes_all = any(key == "dangling" and value in ("0", "false") for key, value in pairs)
    tests = [pair for pair in pairs if pair[0] != "dangling"]
    gone: list[dict[str, str]] = []
    for record in list_images(host.layout):
        if record.store or (record.names and not takes_all) or image_users(host.layout, record):
            continue
        if not passes_filters(host.layout, record, tests):
            continue
        try:
            done = naming.remove(host, record.manifest_digest, force=True, unnamed=not takes_all)
        except (ImageNotFound, InUse):
            continue  # somebody else was faster, or has begun to use it
        gone += _gone(done.untagged, done.deleted)
    freed = images.collect(host, copies=True).freed_bytes
    exchange.send({"ImagesDeleted": gone or None, "SpaceReclaimed": freed})


def get(exchange: Exchange) -> None:
    """Save images; the names are in the path, or parameters."""
    from rootless import archives
    from rootless.service.transfer import download

    names = [exchange.names["name"]] if "name" in exchange.names else exchange.texts("names")
    if not names:
        raise HttpError(400, "names is missing")
    for name in names:
        exchange.names["name"] = name
        image_of(exchange)

    def work() -> int:
        archives.save(exchange.host, names, 1)
        return 0

    download(exchange, work, "application/x-tar")


def load(exchange: Exchange) -> None:
    from rootless import images
    from rootless.service.registry import Progress
    from rootless.service.transfer import BodyAsStdin

    body = BodyAsStdin(exchange)
    with Progress(exchange, {}) as progress:
        for record in images.load(exchange.host, None):
            for name in record.names or (f"sha256:{record.image_id}",):
                word = "Loaded image" if record.names else "Loaded image ID"
                progress.line({"stream": f"{word}: {name}\n"})
        body.check_whole()


def commit(exchange: Exchange) -> None:
    import json

    from rootless.build.changes import parse_changes
    from rootless.container.commit import CommitOptions
    from rootless.container.commit import commit as make_image
    from rootless.service.fields import Fields
    from rootless.service.naming import find
    from rootless.service.registry import with_tag

    found = find(exchange, exchange.text("container"))
    config = Fields(exchange.json())
    changes = [change for text in exchange.texts("changes") for change in text.split("\n")]
    for key, word in (("Cmd", "CMD"), ("Entrypoint", "ENTRYPOINT")):
        if words := config.texts(key):
            changes.append(f"{word} {json.dumps(list(words))}")
    for key, word in (("User", "USER"), ("WorkingDir", "WORKDIR"), ("StopSignal", "STOPSIGNAL")):
        if text := config.text(key):
            changes.append(f"{word} {text}")
    for key, value in config.pairs("Labels").items():
        changes.append(f"LABEL {json.dumps(key)}={json.dumps(value)}")
    for text in config.texts("Env"):
        name, _, value = text.partition("=")
        changes.append(f"ENV {name}={json.dumps(value)}")
    changes += [f"EXPOSE {port}" for port in config.keys("ExposedPorts")]
    changes += [f"VOLUME {json.dumps([path])}" for path in config.keys("Volumes")]
    changes = [change for change in changes if change.strip()]
    repo = exchange.text("repo")
    options = CommitOptions(
        name=with_tag(repo, exchange.text("tag")) if repo else "",
        changes=parse_changes(changes) if changes else None,
        author=exchange.text("author"),
        message=exchange.text("comment"),
    )
    record = make_image(exchange.host, found.record.id, options)
    exchange.send({"Id": f"sha256:{record.image_id}"}, 201)
