"""Images to and from other machines over ssh(1)."""

import subprocess

from rootless.errors import HostError, UsageError
from rootless.host.paths import Host
from rootless.images import default_key, in_namespace
from storage.events import ignore
from storage.images import ImageRecord, find_image
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, parse_reference
from storage.transfer import send_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent
    from rootless.linux.userns import Emit

_NOT_FOUND = 127
_MARK = "::"


class Place(NamedTuple):
    """A machine, empty for this one, and the name of an image there, empty for the same name."""

    host: str
    name: str


def parse_place(text: str) -> Place:
    """Read NAME, HOST::NAME, USER@HOST::NAME or ssh://USER@HOST:PORT::NAME. Raises UsageError."""
    host, mark, name = text.partition(_MARK)
    if not mark:
        return Place("", text)
    if not host or host.startswith("-") or any(letter.isspace() for letter in host):
        raise UsageError(f"{text!r}: {host!r} is not a host of ssh", remedy="write HOST::NAME")
    if host.rpartition("@")[2] == "localhost" and "@" in host:
        raise UsageError(
            f"{text!r}: another user's store cannot be written from here",
            remedy="rpod save IMAGE | sudo -iu USER rpod load",
        )
    return Place(host, name)


def copy(host: Host, source: str, destination: str = "", on_event: "OnEvent | None" = None) -> None:
    """Copy an image to another machine, or from it, without what is there already.

    Raises UsageError, ImageNotFound, HostError, InvalidArchive.
    """
    there, here = parse_place(source), parse_place(destination)
    if bool(there.host) == bool(here.host):
        raise UsageError(
            "exactly one of the two is on another machine", remedy="write HOST:: or HOST::NAME"
        )
    if there.host:
        if not there.name:
            raise UsageError(f"{source}: the image is missing")
        _fetch(host, there, here.name, on_event)
    else:
        _send(host, there.name, here, on_event)


def send(
    host: Host, image: str, name: str, source: int, target: int, on_event: "OnEvent | None" = None
) -> None:
    """Speak the sender's part over two descriptors. Raises ImageNotFound, InvalidArchive."""
    record = find_image(host.layout, image)
    names = (_full(name),) if name else tuple(one for one in record.names if "@" not in one)
    send_image(host.layout, record, names, source, target, on_event or ignore)


def receive(
    host: Host, source: int, target: int, on_event: "OnEvent | None" = None
) -> list[ImageRecord]:
    """Speak the receiver's part. Raises InvalidArchive, PolicyRefused, StoreUnusable."""
    from storage.transfer import receive_images

    def work(emit: "Emit") -> object:
        records = receive_images(
            host.layout,
            default_key(host),
            source,
            target,
            events=lambda event: emit(list(event)),
            environment=host.environ,
        )
        return [record.manifest_digest for record in records]

    digests = in_namespace(host, work, on_event)
    assert isinstance(digests, list)
    return [find_image(host.layout, str(digest), all_names=True) for digest in digests]


def _full(name: str) -> str:
    return str(parse_reference(name, default_registry=LOCAL_REGISTRY))


def _send(host: Host, image: str, place: Place, on_event: "OnEvent | None") -> None:
    record = find_image(host.layout, image)
    with _Ssh(place.host, "rpod", "image", "receive", "--quiet") as far:
        try:
            send(host, record.image_id if not record.names else record.names[0], place.name,
                 far.reader, far.writer, on_event)  # fmt: skip
        except Exception:
            if far.end() != _NOT_FOUND:
                raise
        else:
            far.check()
            return
    _send_archive(host, image, place, on_event)


def _send_archive(host: Host, image: str, place: Place, on_event: "OnEvent | None") -> None:
    """Send everything, for podman or docker on the other side."""
    from storage.save import SavedImage, save_images

    record = find_image(host.layout, image)
    names = (_full(place.name),) if place.name else record.names
    script = "if command -v podman >/dev/null; then exec podman load; else exec docker load; fi"
    with _Ssh(place.host, script) as far:
        saved = [SavedImage(record, names)]
        save_images(host.layout, saved, "docker-archive", far.writer, on_event)
        far.check()


def _fetch(host: Host, place: Place, name: str, on_event: "OnEvent | None") -> None:
    words = ["rpod", "image", "send", "--quiet", place.name]
    with _Ssh(place.host, *words, *([_full(name)] if name else [])) as far:
        try:
            receive(host, far.reader, far.writer, on_event)
        except Exception as error:
            code = far.end()
            if code:
                raise HostError(
                    f"fetch {place.name} from {place.host}: the other side ended with {code}",
                    remedy="see what it said above; rpod has to be installed there",
                ) from error
            raise
        far.check()


class _Ssh:
    """A command on another machine; it tells its errors itself."""

    def __init__(self, host: str, *command: str) -> None:
        self._host = host
        # Several words go to a shell there: each is quoted, one alone is a script.
        import shlex

        script = shlex.join(command) if len(command) > 1 else command[0]
        self._arguments = ["ssh", "-T", "--", host, script]

    def __enter__(self) -> "_Ssh":
        try:
            self._process = subprocess.Popen(
                self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except FileNotFoundError as error:
            raise HostError(
                "ssh is not installed", remedy="install it: apt-get install openssh-client"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.writer = self._process.stdin.fileno()
        self.reader = self._process.stdout.fileno()
        return self

    def end(self) -> int:
        """Let it end, and return its exit code."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        return self._process.wait()

    def check(self) -> None:
        """Raise HostError when the other side has failed."""
        code = self.end()
        if code:
            raise HostError(
                f"copy an image to or from {self._host}: the other side ended with {code}"
            )

    def __exit__(self, *details: object) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.end()
