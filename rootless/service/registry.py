"""Images from and to registries: pull, push, search, distribution, auth; and who the user is there.

Progress is a stream of JSON lines. docker's clients read errors in it, too; what fails before there
is any progress is an ordinary answer.
"""

import base64
import binascii
import contextlib
import json
import os

from rootless import images
from rootless.errors import RootlessError
from rootless.images import PullSettings
from rootless.service.exchange import Exchange, Stream, parse_json
from rootless.service.fields import Fields
from rootless.service.http import ClientGone, HttpError
from storage import events
from storage.errors import ImageNotFound, StorageError
from storage.images import ImageRecord, find_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.events import Event

_JSON = "application/json"
_SHORT = 12
_WORDS = {
    events.BLOB_START: "Pulling fs layer",
    events.BLOB_PROGRESS: "Downloading",
    events.BLOB_EXISTS: "Already exists",
    events.BLOB_DONE: "Download complete",
    events.UNPACK_DONE: "Pull complete",
}
_PUSH_WORDS = {
    events.BLOB_START: "Preparing",
    events.BLOB_PROGRESS: "Pushing",
    events.BLOB_EXISTS: "Layer already exists",
    events.BLOB_DONE: "Pushed",
}


class Progress:
    """The stream of an answer; it begins with the first line."""

    def __init__(self, exchange: Exchange, words: dict[str, str]) -> None:
        self._exchange = exchange
        self._words = words
        self._stack = contextlib.ExitStack()
        self._stream: Stream | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> bool:
        """End the stream; a failure becomes its last line."""
        is_known = isinstance(value, RootlessError | StorageError)
        if value is not None and (self._stream is None or not is_known):
            return False
        if value is not None:
            from rootless.service.connection import describe

            text = describe(value)
            self.line({"errorDetail": {"message": text}, "error": text})
        self._stack.close()
        return True

    def line(self, value: dict[str, object]) -> None:
        """Raises ClientGone."""
        if self._stream is None:
            self._stream = self._stack.enter_context(self._exchange.stream(_JSON))
        self._stream.write_json(value)

    def check(self) -> None:
        """Raises ClientGone when nobody waits any more."""
        if self._exchange.connection.is_gone():
            raise ClientGone

    def event(self, event: "Event") -> None:
        self.check()
        if event.kind in (events.NOTE, events.RETRY):
            self.line({"status": event.text})
            return
        word = self._words.get(event.kind)
        if word is None:
            return
        short = event.digest.partition(":")[2][:_SHORT]
        detail: dict[str, object] = {}
        if event.kind == events.BLOB_PROGRESS:
            detail = {"current": event.current_bytes, "total": event.total_bytes}
        self.line({"status": word, "progressDetail": detail, "id": short})


def credentials(exchange: Exchange) -> str | None:
    """Return USER:PASSWORD of the header, None when the client sends none. Raises HttpError."""
    text = exchange.request.headers.get("x-registry-auth", "")
    if not text:
        return None
    fields = Fields(decode_header(text, "X-Registry-Auth"), "X-Registry-Auth")
    user, password = fields.text("username"), fields.text("password")
    if not user:
        return None
    if ":" in user:
        raise HttpError(400, "X-Registry-Auth: the name of a user has no colon")
    return f"{user}:{password}"


def decode_header(text: str, where: str) -> object:
    """Return the JSON of a header: base64, of either alphabet. Raises HttpError."""
    plain = text.strip().replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise HttpError(400, f"{where}: not base64") from error
    return parse_json(data, where)


def with_tag(name: str, tag: str) -> str:
    """Return NAME:TAG or NAME@DIGEST."""
    if not tag:
        return name
    return f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"


def create(exchange: Exchange) -> None:
    """Pull, or import from a file that comes with the request."""
    if exchange.text("fromSrc"):
        _import(exchange)
        return
    name = with_tag(exchange.text("fromImage"), exchange.text("tag"))
    if not name or name.startswith(("/", ".")) or "://" in name or _has_transport(name):
        raise HttpError(400, f"invalid reference format: {name!r:.200}")
    settings = PullSettings(platform=exchange.text("platform") or None, creds=credentials(exchange))
    exchange.body.drain()
    before = _known(exchange, name)
    with Progress(exchange, _WORDS) as progress:
        record = images.obtain(exchange.host, name, settings, progress.event)
        full = record.names[0] if record.names else name
        progress.line({"status": f"Digest: {record.manifest_digest}"})
        is_new = before is None or before.manifest_digest != record.manifest_digest
        word = "Downloaded newer image for" if is_new else "Image is up to date for"
        progress.line({"status": f"Status: {word} {full}"})


def _has_transport(name: str) -> bool:
    """A file of this machine is not the client's to name here."""
    from storage.transports import is_source

    return is_source(name)


def _known(exchange: Exchange, name: str) -> ImageRecord | None:
    try:
        return find_image(exchange.host.layout, name)
    except StorageError:
        return None


def _import(exchange: Exchange) -> None:
    from rootless.archives import import_image
    from rootless.build.changes import parse_changes
    from rootless.service.transfer import BodyAsStdin

    if exchange.text("fromSrc") != "-":
        raise HttpError(501, "fromSrc: send the archive itself (fromSrc=-)")
    repo = exchange.text("repo")
    changes = exchange.texts("changes")
    body = BodyAsStdin(exchange)
    with Progress(exchange, _WORDS) as progress:
        record = import_image(
            exchange.host,
            None,
            with_tag(repo, exchange.text("tag")) if repo else None,
            changes=parse_changes(changes) if changes else None,
            message=exchange.text("message"),
            platform=exchange.text("platform") or None,
        )
        body.check_whole()
        progress.line({"status": f"sha256:{record.image_id}"})


def push(exchange: Exchange) -> None:
    from rootless.pushing import push as send

    name = with_tag(exchange.names["name"], exchange.text("tag"))
    settings = PullSettings(creds=credentials(exchange))
    exchange.body.drain()
    try:
        record = find_image(exchange.host.layout, name, all_names=True)
    except ImageNotFound as error:
        raise HttpError(404, f"No such image: {name}") from error
    with Progress(exchange, _PUSH_WORDS) as progress:
        progress.line({"status": f"The push refers to repository [{name.rpartition(':')[0]}]"})
        digest = send(exchange.host, name, None, settings, progress.event)
        tag = exchange.text("tag") or "latest"
        size = record.size_bytes
        progress.line({"status": f"{tag}: digest: {digest} size: {size}"})
        aux = {"Tag": tag, "Digest": digest, "Size": size}
        progress.line({"progressDetail": {}, "aux": aux})


def search(exchange: Exchange) -> None:
    from rootless.finding import search as find

    term = exchange.text("term")
    if not term:
        raise HttpError(400, "term is missing")
    found = find(
        exchange.host,
        term,
        PullSettings(creds=credentials(exchange)),
        limit=exchange.number("limit") or 0,
    )
    pairs = exchange.filters()
    for key, _ in pairs:
        if key not in ("stars", "is-official", "is-automated"):
            raise HttpError(400, f"invalid filter '{key}'")
    exchange.send(
        [
            {
                "name": one.name,
                "description": one.description,
                "star_count": one.stars,
                "is_official": one.is_official,
                "is_automated": one.is_automated,
            }
            for one in found
            if all(_passes(one.stars, one.is_official, one.is_automated, *pair) for pair in pairs)
        ]
    )


def _passes(stars: int, is_official: bool, is_automated: bool, key: str, value: str) -> bool:
    if key == "stars":
        return stars >= (int(value) if value.isdecimal() else 0)
    return (is_official if key == "is-official" else is_automated) == (value in ("1", "true"))


def auth(exchange: Exchange) -> None:
    """Show credentials to a registry; nothing is kept: that is the client's."""
    from storage.registry.login import check_login, parse_server
    from storage.registry.options import Credentials, PullOptions

    fields = Fields(exchange.json())
    server = parse_server(_host_of(fields.text("serveraddress")))
    given = Credentials(fields.text("username"), fields.text("password"))
    check_login(server, given, PullOptions(), exchange.host.environ)
    exchange.send({"Status": "Login Succeeded", "IdentityToken": ""})


def _host_of(address: str) -> str:
    if not address or "index.docker.io" in address:
        return "docker.io"
    return address.removeprefix("https://").removeprefix("http://").rstrip("/")


def distribution(exchange: Exchange) -> None:
    """Tell what a registry has under a name; nothing is fetched but the document itself."""
    from rootless.registries import load_registries
    from storage.reference import parse_reference
    from storage.registry.fetch_list import fetch_document
    from storage.registry.registries import find_sources

    reference = parse_reference(exchange.names["name"])
    source = find_sources(load_registries(exchange.host.environ), reference)[-1]
    settings = PullSettings(creds=credentials(exchange))
    options = images.options_for(source, images.pull_options(settings))
    document = fetch_document(source.reference, options=options, environment=exchange.host.environ)
    entries = Fields(parse_json(document.data, "manifest")).parts("manifests")
    exchange.send(
        {
            "Descriptor": {
                "mediaType": document.media_type,
                "digest": document.digest,
                "size": len(document.data),
            },
            "Platforms": [entry.part("platform").raw for entry in entries],
        }
    )


def authfile(exchange: Exchange) -> str:
    """Return the path of a file with the credentials that a build was given, "" for none.

    It is an open file without a name, which ends with this process. Raises HttpError.
    """
    text = exchange.request.headers.get("x-registry-config", "")
    if not text:
        return ""
    fields = Fields(decode_header(text, "X-Registry-Config"), "X-Registry-Config")
    found = {}
    for server in fields.raw:
        login = fields.part(server)
        if login.text("username"):
            pair = f"{login.text('username')}:{login.text('password')}"
            found[_host_of(server)] = {"auth": base64.b64encode(pair.encode()).decode()}
    if not found:
        return ""
    fd = os.memfd_create("auth", os.MFD_CLOEXEC)
    os.write(fd, json.dumps({"auths": found}).encode())
    return f"/proc/{os.getpid()}/fd/{fd}"
