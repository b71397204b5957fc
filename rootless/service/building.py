"""POST /build: docker's classic builder, whose context is a tar archive in the body."""

from rootless.build.engine import Done, open_sources
from rootless.build.engine import build as build_image
from rootless.build.finish import check_request, finish
from rootless.build.request import BuildRequest
from rootless.build.workplace import Workplace
from rootless.container.request import ContainerRequest
from rootless.service.exchange import Exchange, parse_json
from rootless.service.fields import Fields
from rootless.service.http import HttpError
from rootless.service.registry import Progress, authfile
from rootless.service.transfer import BodyAsStdin
from storage.images import ImageRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.build.events import Event

_URLS = ("http://", "https://", "git://", "git@", "ssh://")
_SHORT = 12
# How often to look whether the client still wants the result.
_LOOK_S = 1.0


def build(exchange: Exchange) -> None:
    request = make_request(exchange)
    outputs = check_request(request)
    body = None if exchange.text("remote") else BodyAsStdin(exchange)
    exchange.is_over = True
    with Progress(exchange, {}) as progress, Workplace(exchange.host) as workplace:
        opened = open_sources(workplace, request)
        if body is not None:
            body.check_whole()
        show = _Show(progress, is_quiet=exchange.flag("q"))
        try:
            done = build_image(
                workplace, request, opened, show.event, progress.event, tick_s=_LOOK_S
            )
        finally:
            opened.context.close()
        pairs = list(zip(done.built, done.base_layers, strict=True))
        record = finish(workplace, request, pairs, outputs).record
        assert record is not None
        show.result(record, done)


def make_request(exchange: Exchange) -> BuildRequest:
    """Return what the parameters ask for. Raises HttpError."""
    if exchange.text("version") == "2":
        raise HttpError(501, "there is no BuildKit here: use the classic builder")
    remote = exchange.text("remote")
    if remote and not remote.startswith(_URLS):
        raise HttpError(400, f"remote={remote!r:.200} is no URL")
    for key in ("outputs", "session"):
        if exchange.text(key):
            raise HttpError(501, f"{key}: only BuildKit has it")
    name = exchange.text("dockerfile").lstrip("/")
    platform = exchange.text("platform")
    tags = [tag for tag in exchange.texts("t") if tag]
    pull = exchange.flag("pull")
    return BuildRequest(
        context=remote or "-",
        files=(name,) if name else (),
        target=exchange.text("target"),
        tags=tuple(tags),
        build_args=_pairs(exchange, "buildargs"),
        platforms=(platform,) if platform else (),
        labels=tuple(f"{key}={value}" for key, value in _pairs(exchange, "labels").items()),
        run=_run_request(exchange),
        no_cache=exchange.flag("nocache"),
        pull="always" if pull else "missing",
        authfile=authfile(exchange) or None,
        squash=exchange.flag("squash"),
    )


def _pairs(exchange: Exchange, key: str) -> dict[str, str]:
    """Return an object of texts; null is a variable of the client's that is not set."""
    text = exchange.text(key)
    if not text:
        return {}
    raw = parse_json(text.encode(), key)
    if isinstance(raw, dict):
        raw = {name: value for name, value in raw.items() if value is not None}
    return Fields({key: raw}).pairs(key)


def _run_request(exchange: Exchange) -> ContainerRequest:
    mode = exchange.text("networkmode")
    hosts = [host for text in exchange.texts("extrahosts") for host in text.split(",") if host]
    values: dict[str, object] = {
        "add_host": tuple(hosts),
        "network": (mode,) if mode not in ("", "default", "bridge") else (),
    }
    for key, field in (("memory", "memory"), ("memswap", "memory_swap")):
        if number := exchange.number(key):
            values[field] = str(number)
    for key, field in (
        ("cpushares", "cpu_shares"),
        ("cpuperiod", "cpu_period"),
        ("cpuquota", "cpu_quota"),
        ("shmsize", "shm_size"),
    ):
        if number := exchange.number(key):
            values[field] = number
    for key, field in (("cpusetcpus", "cpuset_cpus"), ("cpusetmems", "cpuset_mems")):
        if text := exchange.text(key):
            values[field] = text
    return ContainerRequest()._replace(**values)  # type: ignore[arg-type]  # fields are of the table


class _Show:
    """Tells the course of a build in the classic builder's words."""

    def __init__(self, progress: Progress, *, is_quiet: bool) -> None:
        self._progress = progress
        self._is_quiet = is_quiet

    def event(self, event: "Event") -> None:
        kind = event["kind"]
        self._progress.check()
        if self._is_quiet:
            return
        if kind == "start":
            self._say(f"Step {event['number']}/{event['total']} : {event['text']}\n")
        elif kind == "end" and event["cached"]:
            self._say(" ---> Using cache\n")
        elif kind == "end" and event["digest"]:
            self._say(f" ---> {str(event['digest']).partition(':')[2][:_SHORT]}\n")
        elif kind == "output":
            self._say(str(event["data"]).encode("latin-1").decode(errors="replace"))
        elif kind == "note":
            self._say(f"Note: {event['text']}\n")

    def _say(self, text: str) -> None:
        self._progress.line({"stream": text})

    def result(self, record: ImageRecord, done: Done) -> None:
        if self._is_quiet:
            self._say(f"sha256:{record.image_id}\n")
            return
        if done.unused_arguments:
            names = " ".join(done.unused_arguments)
            self._say(f"[Warning] One or more build-args [{names}] were not consumed\n")
        self._progress.line({"aux": {"ID": f"sha256:{record.image_id}"}})
        self._say(f"Successfully built {record.image_id[:_SHORT]}\n")
        for name in record.names:
            self._say(f"Successfully tagged {name}\n")
